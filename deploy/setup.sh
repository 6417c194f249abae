#!/usr/bin/env bash
# Create the project's virtual environment from the lock file. Called by make; safe to run again.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "python3 is missing. Debian: apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version) is too old; Python 3.11 or newer is needed (set PYTHON=/path/to/python3.11)"

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  # Debian ships venv's installer apart from python3.
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing python3-venv"
    apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
  else
    fail "Python's venv module is incomplete. As root: apt-get install python3-venv"
  fi
fi
[ -w "$root" ] || fail "no write permission in $root: clone the project into a folder of your own"

if [ ! -x "$venv/bin/python" ]; then
  echo "setup: creating $venv"
  "$python" -m venv "$venv"
fi
if [ ! -x "$venv/bin/uv" ]; then
  echo "setup: installing the package installer (uv)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
fi
echo "setup: installing the locked packages (about a minute the first time)"
VIRTUAL_ENV="$venv" "$venv/bin/uv" pip sync --quiet --require-hashes "$root/requirements.lock"
VIRTUAL_ENV="$venv" "$venv/bin/uv" pip install --quiet --no-deps --no-build-isolation -e "$root"
touch "$venv/.ready"
