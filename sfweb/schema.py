"""Does the database fit this code? Every control-plane process asks at its start and refuses to run otherwise.

Only `manage.py ensure_mariadb_schema` changes the schema (BY-4); it records VERSION and COMPATIBLE_SINCE beside it.
"""

import logging
import re
import time

from django.db import InterfaceError, OperationalError, ProgrammingError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from sfweb.errors import Unavailable

log = logging.getLogger(__name__)
COMMAND = "manage.py ensure_mariadb_schema"
VERSION = 6
"""Raised with every migration."""
COMPATIBLE_SINCE = 1
"""The oldest VERSION of code that may still run on this schema (EN-18)."""
OLDEST_SERVER = (10, 11, 0)
PATIENCE_SECONDS = 60.0
NO_SUCH_TABLE = 1146


class UnfitDatabase(SystemExit):
    """The server or the schema does not fit; the text lists every reason and names the command to run."""


def server_faults(connection: BaseDatabaseWrapper) -> list[str]:
    """What is wrong with the server or the database, all of it (BY-1)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@default_storage_engine, @@character_set_database, @@collation_database")
        version, engine, charset, collation = cursor.fetchone()
    return judge_server(version, engine, charset, collation)


def judge_server(version: str, engine: str, charset: str, collation: str) -> list[str]:
    """The rules of `server_faults`, without a server."""
    faults = []
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", version)
    if "mariadb" not in version.lower() or numbers is None:
        faults.append(f"the server is {version}; MariaDB 10.11.0 or newer is needed")
    elif tuple(int(number) for number in numbers.groups()) < OLDEST_SERVER:
        faults.append(f"the server is MariaDB {version}; 10.11.0 or newer is needed")
    if engine.lower() != "innodb":
        faults.append(f"the default storage engine is {engine}; InnoDB is needed")
    if charset.lower() != "utf8mb4":
        faults.append(f"the database's character set is {charset}; utf8mb4 is needed")
    if not collation.lower().startswith("utf8mb4_"):
        faults.append(f"the database's collation is {collation}; one of utf8mb4 is needed")
    return faults


def schema_faults(connection: BaseDatabaseWrapper) -> list[str]:
    """Every migration that this code needs and the database lacks, and a schema that is too new for this code (BY-3)."""
    loader = MigrationLoader(connection)
    missing = sorted(leaf for leaf in loader.graph.leaf_nodes() if leaf not in loader.applied_migrations)
    faults = [f"the schema of {app} lacks {name}" for app, name in missing]
    version, since = recorded_version(connection)
    if version < VERSION:
        faults.append(f"the schema has version {version}; {VERSION} is needed")
    if since > VERSION:
        faults.append(
            f"the schema has version {version}, which needs code of version {since} or newer; this is {VERSION}"
        )
    return faults


def recorded_version(connection: BaseDatabaseWrapper) -> tuple[int, int]:
    """(version, compatible_since) as recorded; a missing table or row counts as (0, 0)."""
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT version, compatible_since FROM schema_version WHERE id = 1")
        except ProgrammingError as error:
            if error.args[0] != NO_SUCH_TABLE:
                raise
            return 0, 0
        row = cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def require_current_schema(patience: float = PATIENCE_SECONDS) -> None:
    """Return when the database fits. Raises UnfitDatabase, or Unavailable when it did not answer within `patience` seconds."""
    give_up = time.monotonic() + patience
    while True:
        try:
            faults = server_faults(connection) + schema_faults(connection)
            break
        except (OperationalError, InterfaceError) as error:
            connections.close_all()
            if time.monotonic() > give_up:
                raise Unavailable(f"the database does not answer: {error}") from error
            log.warning("waiting for the database: %s", error)
            time.sleep(1)
    connections.close_all()
    if faults:
        raise UnfitDatabase("the database does not fit:\n  " + "\n  ".join(faults) + f"\nRun: {COMMAND}")
