#!/usr/bin/env bash
# Write grafana/dashboards/*.json from code.
set -euo pipefail
cd "$(dirname "$0")/../.."
.venv/bin/python -m grafana.build
