"""Rules of how rows are read and written, held against the code itself (SQ-5, SQ-9)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("sfweb", "sftasks")
SIFTED_HERE = {"sfweb/domain/audit.py"}
"""Files that may read rows and leave some out in Python: the operator's audit compares everything with everything."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def reads_rows(node: ast.AST) -> bool:
    """An expression over a manager: `Model.objects…`."""
    return any(isinstance(one, ast.Attribute) and one.attr in ("objects", "_default_manager") for one in ast.walk(node))


def is_sliced(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) or (isinstance(node, ast.Call) and any(map(is_sliced, node.args)))


def sifted(tree: ast.AST) -> Iterator[int]:
    """Lines at which rows are read and then left out one by one, where a condition in SQL would not read them at all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.comprehension) and node.ifs and reads_rows(node.iter) and not is_sliced(node.iter):
            yield node.iter.lineno
        if isinstance(node, ast.For) and reads_rows(node.iter) and not is_sliced(node.iter):
            first = node.body[0]
            if isinstance(first, ast.If) and isinstance(first.body[0], ast.Continue):
                yield node.lineno


def whole_saves(tree: ast.AST) -> Iterator[int]:
    """Lines of a `save()` that writes every column, and with them what somebody else has written meanwhile."""
    for node in ast.walk(tree):
        saves = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "save"
        if saves and not any(keyword.arg == "update_fields" for keyword in node.keywords):
            yield node.lineno


def test_sq_5_no_rows_are_read_to_be_left_out():
    found = [f"{name}:{line}" for name, tree in sources() for line in sifted(tree)]
    assert [place for place in found if place.rsplit(":", 1)[0] not in SIFTED_HERE] == []


def test_sq_9_every_update_names_its_columns():
    assert [f"{name}:{line}" for name, tree in sources() for line in whole_saves(tree)] == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("x = [row for row in Node.objects.all() if row.state]", sifted),
        ("for row in Node.objects.filter(a=1):\n    if row.b:\n        continue\n    use(row)", sifted),
        ("x = {r.pk for r in list(Node.objects.all()) if r.state}", sifted),
        ("row.state = 1\nrow.save()", whole_saves),
    ],
)
def test_the_rules_find_what_they_are_for(text: str, rule):
    assert list(rule(ast.parse(text)))


def test_the_rules_leave_alone_what_sql_decides():
    text = "x = [row for row in Node.objects.filter(state=1)]\nrow.save(update_fields=['a'])"
    assert not [*sifted(ast.parse(text)), *whole_saves(ast.parse(text))]
