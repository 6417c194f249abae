#!/usr/bin/env bash
# A real TimescaleDB for the tests: a small Debian trixie root with postgresql-17-timescaledb, built once and kept.
#
#   timescale.sh root          build the root if it is missing, print its path
#   timescale.sh why-not       print why it cannot be built here, or nothing
#
# The root lies outside the checkout: $WATTLEASE_TIMESCALE_ROOT, or ~/.cache/wattlease/timescale. The mirror is the one
# this machine's own apt uses. tests/support/timescale.py runs the server in it.
set -euo pipefail
root=${WATTLEASE_TIMESCALE_ROOT:-$HOME/.cache/wattlease/timescale}
suite=trixie
packages="postgresql-17 postgresql-17-timescaledb"

why_not() {
  if [ -e "$root/.ready" ]; then
    [ "$(id -u)" = 0 ] || echo "the server runs in a chroot, which needs root"
  elif [ "$(id -u)" != 0 ]; then
    echo "debootstrap and chroot need root"
  elif ! command -v debootstrap >/dev/null && ! command -v apt-get >/dev/null; then
    echo "debootstrap is missing and this is not Debian: install debootstrap"
  fi
}

mirror() {
  # The first Debian archive of the machine's own configuration; security and backports archives do not hold a suite.
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -v -e security -e backports | head -1 | sed 's#/*$##'
}

build() {
  local temporary=$root.new log=$root.log from
  exec 9>"$root.lock"
  flock 9 # Several test runs may start at once; one builds.
  [ -e "$root/.ready" ] && return
  if ! command -v debootstrap >/dev/null; then
    echo "timescale: installing debootstrap" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >>"$log" 2>&1
  fi
  from=$(mirror)
  [ -n "$from" ] || { apt-get update -qq >>"$log" 2>&1 && from=$(mirror); }
  [ -n "$from" ] || { echo "timescale: apt names no Debian mirror" >&2; return 1; }
  echo "timescale: building a Debian $suite root in $root (once, about two minutes)" >&2
  rm -rf "$temporary"
  mkdir -p "$temporary"
  {
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$temporary" "$from"
    # The machine's own way to the mirror works inside too: its resolver, hosts and apt settings.
    cp -L /etc/resolv.conf /etc/hosts "$temporary/etc/"
    grep -hs -i -e '^Acquire::.*[Pp]roxy' -e 'Check-Valid-Until' -e 'Check-Date' /etc/apt/apt.conf.d/* \
      >"$temporary/etc/apt/apt.conf.d/90host" || true
    printf '#!/bin/sh\nexit 101\n' >"$temporary/usr/sbin/policy-rc.d"
    chmod +x "$temporary/usr/sbin/policy-rc.d"
    mkdir -p "$temporary/etc/postgresql-common"
    echo "create_main_cluster = false" >"$temporary/etc/postgresql-common/createcluster.conf"
    chroot "$temporary" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get update -qq
    # shellcheck disable=SC2086
    chroot "$temporary" env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
      apt-get install -y -qq --no-install-recommends $packages
    chroot "$temporary" apt-get clean
    rm -rf "$temporary"/var/lib/apt/lists/*
    touch "$temporary/.ready"
  } >>"$log" 2>&1 || { echo "timescale: building failed; the last lines of $log:" >&2; tail -5 "$log" >&2; return 1; }
  rm -rf "$root"
  mv "$temporary" "$root"
}

case ${1:-} in
  root)
    mkdir -p "$(dirname "$root")"
    [ -e "$root/.ready" ] || build
    echo "$root"
    ;;
  why-not) why_not ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
