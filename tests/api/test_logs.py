"""Logs are JSON lines that tell the request and never a secret."""

import json
import logging
from typing import Any

import pytest

from sfweb import logs


def line(message: str, *arguments: Any, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("t").makeRecord("t", logging.INFO, __file__, 1, message, arguments, None, extra=extra)
    text = logs.JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_lg_1_one_object_a_line():
    told = line("two\nlines %s", 1, number=5)
    assert told["message"] == "two\nlines 1"
    assert told["number"] == 5
    assert told["level"] == "info"


def test_the_request_and_the_operation_are_named():
    request, operation = logs.request_id.set("r-1"), logs.operation_id.set("o-1")
    try:
        told = line("x")
    finally:
        logs.request_id.reset(request)
        logs.operation_id.reset(operation)
    assert (told["request_id"], told["operation_id"]) == ("r-1", "o-1")
    assert "request_id" not in line("y")


@pytest.mark.parametrize(
    "extra",
    [
        {"key": "hush"},
        {"api_key": "hush"},
        {"body": {"namespace": "n", "key": "hush"}},
        {"rows": [{"password": "hush"}]},
        {"headers": {"Authorization": "hush"}},
        {"user_data": "hush"},
        {"signing_key": "hush"},
        {"url": "mysql://user:hush@host/db"},
        {"text": "Authorization: Bearer hush"},
        {"text": "the key sfk_hush was used"},
    ],
    ids=str,
)
def test_se_16_secrets_are_masked(extra: dict[str, Any]):
    assert "hush" not in json.dumps(line("m", **extra))
    assert logs.MASK in json.dumps(line("m", **extra))


def test_se_16_secrets_in_messages_and_tracebacks_are_masked():
    assert "hush" not in line("connect mysql://user:hush@host/db")["message"]
    try:
        raise RuntimeError("Bearer hush")
    except RuntimeError as error:
        record = logging.getLogger("t").makeRecord(
            "t", logging.ERROR, __file__, 1, "m", (), (type(error), error, error.__traceback__)
        )
    assert "Bearer hush" not in logs.JsonLines().format(record)


def test_what_is_no_secret_stays():
    told = line("m", key_name="deploy", object_key="instance:1", token_count=None)
    assert (told["key_name"], told["object_key"]) == ("deploy", "instance:1")
    assert line("Listening at: http://127.0.0.1:13000 (7)")["message"] == "Listening at: http://127.0.0.1:13000 (7)"
