"""What the control worker runs: one task a reconciler, and nothing else. Nodes never read or write this queue (SE-1)."""

from typing import Any

import django
from celery.signals import beat_init
from django.db import close_old_connections

from sftasks.celery import app

django.setup()

from sftasks import schedule  # noqa: E402  (models need the apps that setup has loaded)


def _reconcile_with(name: str) -> Any:
    def reconcile() -> None:
        close_old_connections()
        try:
            schedule.run(name)
        finally:
            close_old_connections()

    return reconcile


for _name in schedule.RECONCILERS:
    app.task(name=schedule.task_name(_name), ignore_result=True)(_reconcile_with(_name))


@beat_init.connect
def _start_understudy(**_: object) -> None:
    schedule.install()
    schedule.Understudy().start()
