"""RO-13: a pass that cannot read what there is to do is left out, and counted; nothing is taken for empty."""

import importlib

import pytest
from django.db import OperationalError, connection
from prometheus_client import REGISTRY

from sftasks import schedule
from sfweb import metrics
from sfweb.models import Artifact, Blob, Duty, Instance, Node, NodeObject, Operation
from sfweb.models.fields import FromNow

WITHOUT_LIST = {"broker_users"}
"""Does nothing where the operator gave no login at the broker."""
ROWS = (Artifact, Blob, Instance, Node, NodeObject, Operation)


def unreadable(execute, sql, params, many, context):
    if "duties" not in sql and "SELECT" in sql.upper():
        raise OperationalError(1205, "the table cannot be read")
    return execute(sql, params, many, context)


def reset(name):
    """What other tests in this process have counted."""
    metrics.WORK_LIST_FAILURES.labels(name).set(0)


def streak(name):
    return REGISTRY.get_sample_value("cluster_sweep_work_list_failure_streak", {"sweep": name})


def due(name):
    Duty.objects.update_or_create(name=name, defaults={"next_run_at": FromNow(-1), "running_until": None})


def everything():
    return {
        model: sorted(model.objects.values_list("pk", "state") if hasattr(model, "state") else []) for model in ROWS
    }


@pytest.mark.parametrize("name", sorted(set(schedule.RECONCILERS) - WITHOUT_LIST))
def test_ro_13_a_list_that_cannot_be_read_is_not_an_empty_one(guest, name, monkeypatch):
    module = importlib.import_module(f"sftasks.reconcilers.{name}")
    genuine, before = module.run, everything()
    reset(name)

    def cannot_read():
        with connection.execute_wrapper(unreadable):
            return genuine()

    with monkeypatch.context() as patch:
        patch.setattr(module, "run", cannot_read)
        for times in (1, 2):
            due(name)
            with pytest.raises(OperationalError):
                guest.run(schedule.run, name)
            duty = Duty.objects.get(name=name)
            assert (duty.failures, streak(name)) == (times, times)
            assert "the table cannot be read" in duty.last_error
    assert everything() == before
    due(name)
    assert guest.run(schedule.run, name) is not None
    assert (Duty.objects.get(name=name).failures, streak(name)) == (0, 0)
