#!/usr/bin/env bash
# One consistent backup of the database, restorable with restore.sh:
#   deploy/postgres/backup.sh postgresql://postgres:…@host/wattlease /backups
# Writes DIR/wattlease-<UTC time>.dump and checks that it can be listed. Keeps the newest KEEP (default 14) of them.
set -euo pipefail
url=${1:?first argument: address of the database, as superuser}
folder=${2:?second argument: folder for the backups}
keep=${KEEP:-14}
mkdir -p "$folder"
file="$folder/wattlease-$(date -u +%Y%m%dT%H%M%SZ).dump"
trap 'rm -f -- "$file.part"' EXIT # A dump that failed must not fill the disk, night after night.
pg_dump --format=custom --compress=6 --no-password --file="$file.part" "$url"
pg_restore --list "$file.part" >/dev/null
mv "$file.part" "$file"
find "$folder" -name 'wattlease-*.dump' | sort -r | tail -n "+$((keep + 1))" | xargs -r rm --
echo "$file"
