#!/usr/bin/env bash
# Install what the tests need besides Python packages, from Debian. Asks for root only when something is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# package:file that proves it
wanted=(
  chromium:/usr/bin/chromium
  fonts-noto-cjk:/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc
  mosquitto:/usr/sbin/mosquitto
  mosquitto-clients:/usr/bin/mosquitto_pub
  socat:/usr/bin/socat
  mbpoll:/usr/bin/mbpoll
  openssl:/usr/bin/openssl
  gcc:/usr/bin/gcc
  libmodbus-dev:/usr/include/modbus/modbus.h
  poppler-utils:/usr/bin/pdftotext
  debootstrap:/usr/sbin/debootstrap
  docker-compose:/usr/bin/docker-compose
  victoria-metrics:/usr/bin/victoria-metrics
)
missing=()
for entry in "${wanted[@]}"; do
  [ -e "${entry#*:}" ] || missing+=("${entry%%:*}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "services: missing ${missing[*]}; the tests that need them are skipped. As root: apt-get install ${missing[*]}" >&2
    exit 0
  fi
  echo "services: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # mosquitto's own service must not start: the tests run their own broker on a free port.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
for script in "$here"/*.prepare.sh; do
  [ -e "$script" ] || continue
  bash "$script"
done
