"""The lab's passwords and keys, made once and kept in its run directory, readable by root only."""

import json
import os
import secrets

from lab.layout import Layout

NAMES = ("secret_key", "auth_secret", "app_password", "schema_password", "broker_password", "flower_password")
SYSTEM_KEY = "system_key"


def read(lab: Layout) -> dict[str, str]:
    path = lab.run_dir / "secrets.json"
    if not path.exists():
        values = {name: secrets.token_hex(24) for name in (*NAMES, SYSTEM_KEY)}
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(values, file)
    held: dict[str, str] = json.loads(path.read_text())
    return held
