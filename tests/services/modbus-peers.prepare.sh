#!/usr/bin/env bash
# Modbus servers that are not ours: libmodbus's own unit-test server (from Debian's source package) and npm's modbus-serial.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
root=${XDG_CACHE_HOME:-$HOME/.cache}/wattlease/modbus-peers
mkdir -p "$root"

if [ ! -x "$root/libmodbus-unit-test-server" ] && [ -e /usr/include/modbus/modbus.h ]; then
  echo "services: building libmodbus's unit-test server"
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  # The machine's own package sources, asked for source packages, without changing its configuration.
  cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed 's/^Types:.*/Types: deb-src/' >"$work/src.sources"
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list 2>/dev/null >"$work/src.list" || true
  mkdir -p "$work/parts" "$work/lists/partial"
  cp "$work/src.sources" "$work/parts/"; [ -s "$work/src.list" ] && cp "$work/src.list" "$work/parts/"
  apt=(-o APT::Sandbox::User=root -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists")
  (
    cd "$work"
    apt-get "${apt[@]}" update -qq
    apt-get "${apt[@]}" source --download-only -qq libmodbus >/dev/null
    tar xf libmodbus_*.orig.tar.*
    cd libmodbus-*/tests
    sed 's/@[A-Z0-9_]*@/#include <stdint.h>/' unit-test.h.in >unit-test.h
    gcc -w -I. -I/usr/include/modbus unit-test-server.c -o "$root/libmodbus-unit-test-server" -lmodbus
  )
fi

if [ ! -d "$root/node_modules/modbus-serial" ] && [ -x "$here/.venv/bin/npm" ]; then
  echo "services: installing modbus-serial"
  PATH="$here/.venv/bin:$PATH" npm install --silent --no-audit --no-fund --prefix "$root" modbus-serial@8 >/dev/null
fi
