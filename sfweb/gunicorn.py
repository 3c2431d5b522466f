"""Settings of the HTTP processes: `gunicorn -c python:sfweb.gunicorn sfweb.wsgi`.

Threads, because the ORM is synchronous. keepalive is longer than a load balancer's, so that no connection is cut under a
request (the public client would send a POST twice). Metrics of all workers are served by the master on their own port.
"""

import contextlib
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from typing import Any

from gunicorn import glogging

from sfweb.logs import configuration

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")
METRICS_DIRECTORY = tempfile.mkdtemp(prefix="steadyfist-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = METRICS_DIRECTORY

MMAP_THRESHOLD, LARGE_BYTES = -3, 256 * 1024
"""glibc's number of the switch, and from what size on it is asked for memory that it does not keep."""

INTERNAL = any("wsgi_internal" in word for word in sys.argv)
if INTERNAL:
    os.environ["SF_INTERNAL"] = "1"  # before the master reads the settings, which the workers inherit
bind = os.environ.get("BIND", "127.0.0.1:13001" if INTERNAL else "0.0.0.0:13000")
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "16"))
worker_class = "gthread"
timeout = 300
graceful_timeout = 55
keepalive = 75
logconfig_dict = configuration(os.environ.get("LOG_LEVEL", "INFO"))
control_socket_disable = True
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
limit_request_line = 8190


class NoAccessLog(glogging.Logger):
    """Requests are counted and named by the middleware. Gunicorn would make a line of each, also for nobody."""

    def access(self, *_: Any) -> None:
        """Nothing is written."""


logger_class = NoAccessLog


def when_ready(server: Any) -> None:
    import django

    django.setup()
    from sfweb.metrics import serve_metrics

    serve_metrics(13005 if INTERNAL else 13003)


def post_fork(server: Any, worker: Any) -> None:
    """Chunks of uploads, and whatever else is large, go back to the system at once, however many threads had some."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such switch
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BYTES)


def post_worker_init(worker: Any) -> None:
    """What is loaded by now stays: a collector that walked through it again took a quarter of the time of long lists."""
    from django.urls import get_resolver

    from sfweb.health.readiness import checker

    assert get_resolver().url_patterns  # loads all views
    gc.collect()
    gc.freeze()
    checker.start()


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    shutil.rmtree(METRICS_DIRECTORY, ignore_errors=True)
