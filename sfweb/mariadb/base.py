"""Django's own connection, but a transaction begins with BEGIN instead of turning autocommit off and, at its end, on again."""

from typing import Any

from django.db.backends.mysql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """The server is in autocommit from the first moment on; COMMIT and ROLLBACK end what BEGIN began."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "autocommit": True}

    def _set_autocommit(self, autocommit: bool) -> None:
        """Django asks for the end of autocommit to begin a transaction, and for autocommit after its COMMIT or ROLLBACK."""
        if not autocommit:
            with self.wrap_database_errors:
                self.connection.begin()
