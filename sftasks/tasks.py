"""What the control worker runs: one task a reconciler, and nothing else. Nodes never read or write this queue (SE-1)."""

from typing import Any

import django
from celery.signals import beat_init, worker_ready
from django.db import close_old_connections

from sftasks.celery import app

django.setup()

from sftasks import schedule  # noqa: E402  (models need the apps that setup has loaded)
from sfweb.metrics import serve_metrics  # noqa: E402

METRICS_PORT = 13007


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


@worker_ready.connect
def _serve_metrics(**_: object) -> None:
    serve_metrics(METRICS_PORT)


@beat_init.connect
def _start_understudy(**_: object) -> None:
    schedule.install()
    schedule.Understudy().start()
