"""nftables through libnftables: one JSON document is one transaction of the kernel, wholly applied or not at all (NL-3).

A context and every call on it belong inside the namespace it was made for: the library resolves names by sockets of its
own, made when it needs them. `namespaces.Namespace.nft` takes care of that; nobody else makes one.
"""

import ctypes
import errno
import json
import re
from typing import Any

from nodeagent.nethelper.protocol import NetworkError

_JSON_OUTPUT = 1 << 4
_NO_TABLE = re.compile(r"No such file or directory")
_VOLATILE = ("handle", "expires", "timeout")


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    return library


class Nftables:
    """The rules of the namespace that it is made in. `writes` counts transactions that were to change something."""

    def __init__(self) -> None:
        self._library = _library()
        self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise NetworkError(errno.ENOMEM, "nftables", "no context")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_output_set_flags(self._context, _JSON_OUTPUT)
        self.writes = 0

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def apply(self, commands: list[dict[str, Any]], name: str) -> None:
        """Run all commands as one transaction. Raises NetworkError in the kernel's words, with nothing changed."""
        self.writes += 1
        failure = self._run(commands)[1]
        if failure:
            raise NetworkError(_errno(failure), name, failure)

    def table(self, family: str, table: str) -> list[dict[str, Any]] | None:
        """The table's content as nftables lists it, or None where there is no such table."""
        output, failure = self._run([{"list": {"table": {"family": family, "name": table}}}])
        if failure:
            if _NO_TABLE.search(failure):
                return None
            raise NetworkError(_errno(failure), f"table {family} {table}", failure)
        listing: list[dict[str, Any]] = json.loads(output)["nftables"]
        return [entry for entry in listing if "metainfo" not in entry]

    def _run(self, commands: list[dict[str, Any]]) -> tuple[str, str]:
        code = self._library.nft_run_cmd_from_buffer(self._context, json.dumps({"nftables": commands}).encode())
        output = self._library.nft_ctx_get_output_buffer(self._context).decode()
        failure = self._library.nft_ctx_get_error_buffer(self._context).decode().strip()
        return output, failure or "unknown failure" if code else ""


def canonical(listing: list[dict[str, Any]]) -> str:
    """A listing as text that is equal for equal rules: without handles and running clocks, elements in order."""
    return json.dumps([_stripped(entry) for entry in listing], sort_keys=True)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: sorted((_stripped(item) for item in inner), key=str)
            if key == "elem" and isinstance(inner, list)
            else _stripped(inner)
            for key, inner in value.items()
            if key not in _VOLATILE
        }
    if isinstance(value, list):
        return [_stripped(item) for item in value]
    return value


def _errno(failure: str) -> int:
    words = {
        "No such file or directory": errno.ENOENT,
        "File exists": errno.EEXIST,
        "Operation not permitted": errno.EPERM,
    }
    return next((code for text, code in words.items() if text in failure), errno.EINVAL)
