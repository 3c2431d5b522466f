"""Bring the database's schema to what this code needs: checked first, one at a time, harmless to repeat."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from sfweb.models import SchemaVersion
from sfweb.schema import COMPATIBLE_SINCE, VERSION, schema_faults, server_faults
from sfweb.settings import database_entry

ALIAS = "schema"
LOCK = "schema_lock"
LOCK_SECONDS = 600
"""A second command waits this long for the first."""
LOCK_WAIT = 1205


class Command(BaseCommand):
    help = (
        "Check the MariaDB server, then create or migrate the schema. Uses SCHEMA_DATABASE_URL, a user with DDL rights."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        url = settings.SCHEMA_DATABASE_URL
        entry = database_entry(url) if url else dict(settings.DATABASES["default"])
        connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: entry})[ALIAS]
        schema, guard = connections[ALIAS], connections.create_connection(ALIAS)
        try:
            faults = server_faults(schema)
            if faults:
                raise CommandError("the server does not fit:\n  " + "\n  ".join(faults))
            self._lock(guard)
            self._migrate(schema)
        finally:
            guard.close()
            schema.close()
            del connections[ALIAS]
            del connections.settings[ALIAS]

    def _lock(self, guard: Any) -> None:
        """Hold the one row of the lock table until `guard` closes (BY-5). DDL on the other connection leaves it alone."""
        with guard.cursor() as cursor:
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}")
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {LOCK} (id TINYINT PRIMARY KEY) ENGINE=InnoDB")
            try:
                cursor.execute(f"INSERT IGNORE INTO {LOCK} (id) VALUES (1)")
                guard.set_autocommit(False)
                cursor.execute(f"SELECT id FROM {LOCK} WHERE id = 1 FOR UPDATE")
            except OperationalError as error:
                if error.args[0] == LOCK_WAIT:
                    raise CommandError("another schema command has been running for ten minutes") from error
                raise

    def _migrate(self, schema: Any) -> None:
        if not schema_faults(schema):
            self.stdout.write("the schema is current: nothing to do")
            return
        call_command("migrate", database=ALIAS, interactive=False, verbosity=1, stdout=self.stdout, skip_checks=True)
        SchemaVersion.objects.using(ALIAS).update_or_create(
            id=1, defaults={"version": VERSION, "compatible_since": COMPATIBLE_SINCE}
        )
        self.stdout.write(f"the schema has version {VERSION}")
