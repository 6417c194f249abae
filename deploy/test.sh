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
if [ "$target" != tests ]; then
  step "tests of $target" .venv/bin/pytest -q "$target"
  exit $failed
fi
# Two workers for two cores; a file stays on one worker, so that its servers are started once. The browser's driver runs
# an event loop of its own and the demo takes the whole machine, so these two come after, alone. The schema snapshot
# shows the embedded server's partitions, so it is compared there only.
step "tests (embedded PostgreSQL)" .venv/bin/pytest -q -n 2 --dist loadfile --maxfail 50 tests \
  --ignore tests/browser --ignore tests/e2e
# On TimescaleDB runs what stores or reads observations and what is reckoned from them; accounts, leasing records,
# messages and the like ask the same of either server.
step "tests (real TimescaleDB)" .venv/bin/pytest -q -n 2 --dist loadfile --database timescale tests/integration tests/migrations \
  --ignore tests/integration/notifications --ignore tests/integration/test_gateway_loss.py \
  --ignore tests/integration/test_panel_loss.py --ignore tests/integration/test_account_commands.py \
  --ignore tests/integration/billing/test_imports.py --ignore tests/integration/billing/test_tenancy.py \
  --ignore tests/integration/billing/test_places.py --ignore tests/integration/billing/test_leasing_services.py \
  --ignore tests/integration/web/test_accounts.py --ignore tests/integration/web/test_signing_in.py \
  --deselect tests/migrations/test_migrations.py::test_the_snapshot_equals_the_sum_of_the_migrations
step "tests (browser)" .venv/bin/pytest -q -s tests/browser
step "tests (the demo, from end to end)" .venv/bin/pytest -q -s tests/e2e
exit $failed
