"""The OpenAPI document says what is true. Every other test of the API holds its answers against it, too (`Person.ask`)."""

import json

import pytest

from sfweb.api.answers import ANSWERS
from sfweb.api.shapes import SHAPES
from tests.api.described import CHECKED, contradiction, document
from tests.api.world import World


def test_every_verb_of_every_address_says_what_it_answers():
    """A line of `sfweb/api/answers.py` for each, and none for what is not there."""
    served = {(path, verb) for path, verbs in document()["paths"].items() for verb in verbs if verb in CHECKED}
    assert served == set(ANSWERS)


def test_every_answer_has_a_shape_and_every_refusal_the_one_of_errors():
    for path, verbs in document()["paths"].items():
        for verb, operation in verbs.items():
            for status, response in operation["responses"].items():
                (content,) = response["content"].values()
                assert content["schema"], (path, verb, status)
                if int(status) >= 400:
                    assert content["schema"] == {"$ref": "#/components/schemas/Error"}


def test_what_a_verb_takes_is_described():
    for path, verbs in document()["paths"].items():
        for verb, operation in verbs.items():
            named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in named) and path.count("{") == len(named)
            if verb in ("post", "put", "patch") and "requestBody" in operation:
                assert set(operation["requestBody"]["content"]) <= {"application/json", "application/octet-stream"}
    create = document()["paths"]["/instances"]["post"]
    assert {"Idempotency-Key", "Prefer"} <= {parameter["name"] for parameter in create["parameters"]}
    assert "Link" in document()["paths"]["/instances/{ref}/events"]["get"]["responses"]["200"]["headers"]


def test_every_shape_is_used():
    text = str(document()["paths"]) + str(SHAPES)
    assert [name for name in SHAPES if f"#/components/schemas/{name}'" not in text] == []


@pytest.mark.parametrize(
    ("member", "value"), [("cpus", "one"), ("uuid", None), ("interfaces", {}), ("has_pending_operations", 1)]
)
def test_an_answer_that_differs_from_the_document_is_found(world: World, member: str, value: object):
    """The check that all tests of the API rely on can fail."""
    answer = world.person("owner").get(f"/instances/{world.instance.uuid}")
    told = answer.json() | {member: value}
    answer.content = json.dumps(told).encode()
    assert member in contradiction("GET", f"/instances/{world.instance.uuid}", answer)
    answer.status_code = 418
    assert "418 is not described" in contradiction("GET", f"/instances/{world.instance.uuid}", answer)
