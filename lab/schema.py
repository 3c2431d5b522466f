"""One step of the control plane's start: the database's users where it is our own, its schema, and what a cluster begins with."""

import subprocess
import sys
import time

from lab import control, credentials
from lab.layout import CODE, from_environment
from lab.servers import START_SECONDS


def main() -> None:
    lab = from_environment()
    if not lab.database_url:
        server, secrets = control.database(lab), credentials.read(lab)
        end = time.monotonic() + START_SECONDS
        while not server.answers():
            if time.monotonic() > end:
                sys.exit("the database does not answer")
            time.sleep(0.1)
        server.bootstrap(control.DATABASE, secrets["app_password"], secrets["schema_password"])
    for command in ("ensure_mariadb_schema", "bootstrap_cluster"):
        subprocess.run([sys.executable, str(CODE / "manage.py"), command], check=True)


if __name__ == "__main__":
    main()
