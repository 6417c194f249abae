#!/usr/bin/env bash
# Generate everything that is generated and committed, and fail when that changes a file.
set -euo pipefail
cd "$(dirname "$0")/.."
before=$(mktemp); after=$(mktemp); trap 'rm -f "$before" "$after"' EXIT
snapshot() { git ls-files -z -- '*.json' '*.sql' '*.po' '*.pot' '*.md' | xargs -0 sha256sum 2>/dev/null || true; }
snapshot >"$before"
for generator in deploy/generate.d/*.sh; do
  [ -e "$generator" ] || continue
  bash "$generator" >/dev/null
done
snapshot >"$after"
if ! diff "$before" "$after" >/dev/null; then
  echo "These generated files are not up to date; commit what was generated now:" >&2
  diff "$before" "$after" | awk '/^>/ {print "  " $3}' >&2
  exit 1
fi
