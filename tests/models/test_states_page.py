"""The pictures of states in docs/states.md are drawn from the tables in the code. `DRAW=1` draws them anew."""

import os
import re
from pathlib import Path

from sfweb.models.state import TRANSITIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "states.md"
OPENING = """# States

Drawn from `sfweb/models/state.py`, the only table of what may follow what; nothing else writes a state.
"""


def words(kind: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind).lower()


def drawn() -> str:
    parts = [OPENING]
    for kind, table in TRANSITIONS.items():
        lines = [f"    {_name(first)} --> {_name(then)}" for first in table for then in sorted(table[first])]
        names = dict.fromkeys([*table, *sorted({then for targets in table.values() for then in targets})])
        ends = [f"    {_name(state)} --> [*]" for state in names if not table.get(state)]
        begin = f"    [*] --> {_name(next(iter(table)))}"
        text = "\n".join(["stateDiagram-v2", begin, *lines, *ends])
        parts.append(f"## {words(kind).capitalize()}\n\n```mermaid\n{text}\n```\n")
    return "\n".join(parts)


def _name(state: str) -> str:
    return str(state).replace("-", "_")


def test_the_page_shows_what_the_code_allows():
    if os.environ.get("DRAW"):
        PAGE.write_text(drawn())
    assert PAGE.read_text() == drawn(), "DRAW=1 python -m pytest tests/models/test_states_page.py"
