"""The raw sides' one connection to the database, by hand."""

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import MySQLdb


@cache
def connection() -> Any:
    database = urlsplit(os.environ["DATABASE_URL"])
    return MySQLdb.connect(
        host=database.hostname,
        port=database.port,
        user=database.username,
        password=database.password,
        database=database.path[1:],
        charset="utf8mb4",
        autocommit=True,
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )
