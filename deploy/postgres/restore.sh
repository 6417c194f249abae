#!/usr/bin/env bash
# Restore a backup into a new, empty database; refuses to touch one that holds tables of ours.
#   deploy/postgres/restore.sh backup.dump postgresql://postgres:…@host/wattlease_restored
# Create the roles first with `cloud-api bootstrap` (it also creates the database its addresses name).
set -euo pipefail
file=${1:?first argument: the backup}
url=${2:?second argument: address of the empty database, as superuser}
if [ "$(psql --no-psqlrc --tuples-only --no-align --command "SELECT count(*) FROM pg_namespace WHERE nspname = 'app'" "$url")" != 0 ]; then
  echo "restore: $url holds the schema app already; restore into an empty database" >&2
  exit 1
fi
timescale=$(psql --no-psqlrc --tuples-only --no-align --command "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'" "$url")
if [ "$timescale" = 1 ]; then psql --no-psqlrc --quiet --command "SELECT timescaledb_pre_restore()" "$url" >/dev/null; fi
pg_restore --exit-on-error --no-password --dbname="$url" "$file"
if [ "$timescale" = 1 ]; then psql --no-psqlrc --quiet --command "SELECT timescaledb_post_restore()" "$url" >/dev/null; fi
