"""A private MariaDB on tmpfs for one test run, started before Django reads its settings. Never SQLite.

Loaded as a pytest plugin (`-p tests.private_database`). A run that is given DATABASE_URL uses that server instead.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from lab.servers import MariaDb


def _start() -> None:
    shared_memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="sft", dir=shared_memory if shared_memory.is_dir() else None))
    server = MariaDb(directory, fast=True)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    os.environ["DATABASE_URL"] = f"mysql://root@localhost/steadyfist?unix_socket={server.socket}"


os.environ.setdefault("SECRET_KEY", "a secret that only the tests know, long enough for HS256")
if "DATABASE_URL" not in os.environ:
    _start()
