#!/usr/bin/env bash
# cloud_api/db/schema.sql: the sum of the migrations.
set -euo pipefail
.venv/bin/python -m cloud_api.db.dump
