"""The raw sides' connections to the database, by hand."""

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import MySQLdb


def connect(url: str) -> Any:
    database = urlsplit(url)
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


@cache
def connection() -> Any:
    """The one of this process."""
    return connect(os.environ["DATABASE_URL"])
