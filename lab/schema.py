"""One step of the control plane's start: the database's users where it is our own, its schema, and what a cluster begins with."""

import os
import socket
import subprocess
import sys
from urllib.parse import urlsplit

from lab import control, credentials
from lab.layout import CODE, from_environment
from lab.progress import wait_for
from lab.servers import START_SECONDS


def _given_answers() -> bool:
    parts = urlsplit(os.environ["DATABASE_URL"])
    if parts.hostname and "unix_socket=" not in parts.query:
        socket.create_connection((parts.hostname, parts.port or 3306), timeout=5).close()
    return True


def main() -> None:
    lab = from_environment()
    server, secrets = control.database(lab), credentials.read(lab)
    wait_for("an answer of the database", START_SECONDS, _given_answers if lab.database_url else server.answers)
    if not lab.database_url:
        server.bootstrap(control.DATABASE, secrets["app_password"], secrets["schema_password"])
    for command in ("ensure_mariadb_schema", "bootstrap_cluster"):
        subprocess.run([sys.executable, str(CODE / "manage.py"), command], check=True)


if __name__ == "__main__":
    main()
