#!/usr/bin/env bash
# Run the tests: all on the embedded PostgreSQL, then what speaks SQL on a real TimescaleDB. Called by `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."
target=${1:-tests}
failed=0
step() {
  local title=$1 begin=$SECONDS
  shift
  printf '\n== %s\n' "$title"
  "$@" || { failed=1; printf '== FAILED: %s\n' "$title"; }
  printf '== %s: %s s\n' "$title" $((SECONDS - begin))
}

step "format, lint, types, import contracts" make --no-print-directory check
step "generated files are up to date" make --no-print-directory porcelain
# Two workers for two cores; a file stays on one worker, so that its servers are started once.
step "tests (embedded PostgreSQL)" .venv/bin/pytest -q -n 2 --dist loadfile --maxfail 50 "$target"
if [ "$target" = tests ] && [ -x tests/services/timescale.sh ]; then
  step "tests (real TimescaleDB)" .venv/bin/pytest -q --database timescale tests/integration tests/migrations
fi
exit $failed
