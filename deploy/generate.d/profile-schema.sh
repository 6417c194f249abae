#!/usr/bin/env bash
# The schema that editors use to complete device profiles.
set -euo pipefail
.venv/bin/python -m device_profiles.json_schema
