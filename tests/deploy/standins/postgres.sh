#!/bin/sh
# As the real image's entry point: makes the database at the first start, by POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "$POSTGRES_PASSWORD" > /tmp/word
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/word --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  rm /tmp/word
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  PGPASSWORD="$POSTGRES_PASSWORD" pg_ctl -w -o "-c listen_addresses=''" start >/dev/null
  PGPASSWORD="$POSTGRES_PASSWORD" createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl -w -m fast stop >/dev/null
fi
exec "$@" -c listen_addresses='*'
