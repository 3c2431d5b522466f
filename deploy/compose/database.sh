#!/bin/sh
# Run once by the MariaDB image when its volume is new: the database and its two users, as deploy/bootstrap.sql makes them.
set -eu
{
  printf "SET @app_password = '%s', @schema_password = '%s';\n" "$APP_PASSWORD" "$SCHEMA_PASSWORD"
  cat /bootstrap.sql
} | docker_process_sql
