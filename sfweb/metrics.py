"""Prometheus metrics on a port of their own. Labels are few: methods, routes, statuses, nodes; never ids of objects."""

import logging
import os

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger(__name__)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter("steadyfist_http_requests", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "steadyfist_http_request_seconds",
    "Time to the first byte of the answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

EVENTS_INSERTED = Counter("database_events_inserted", "Events written", ["event_type"])
EVENTS_PRUNED = Counter("database_events_pruned", "Events that were too old", ["event_type"])
EVENTS_ORPHANED = Counter("database_orphan_events_pruned", "Events whose last object was hard deleted")
OPERATIONS_OPEN = Gauge("operations_open", "Operations that have not ended", ["kind", "state"])
OPERATIONS_OLDEST = Gauge("operations_oldest_seconds", "Age of the oldest operation that has not ended", ["priority"])
POOL_SIZE = Gauge("resource_pool_size", "Values of a pool; of one that each node has, of all nodes", ["pool"])
POOL_USED = Gauge("resource_pool_used", "Values of a pool that are taken or rest", ["pool"])
POOL_RETRIES = Counter("resource_pool_retries", "Values that were tried and taken", ["pool"])
POOL_EXHAUSTED = Counter("resource_pool_exhausted", "Requests that found no free value", ["pool"])
WORK_LIST_FAILURES = Gauge(
    "cluster_sweep_work_list_failure_streak", "Passes in a row that could not read what there is to do", ["sweep"]
)
SPOOLED = Gauge("eventlog_spool_depth", "Events that wait on the node", ["node"], multiprocess_mode="mostrecent")
SPOOL_DROPPED = Gauge(
    "eventlog_spool_dropped_total", "Events that the node had no room for", ["node"], multiprocess_mode="mostrecent"
)
EVENT_ROWS = Gauge("database_events_rows", "Events, by the server's statistics", multiprocess_mode="mostrecent")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    known = method if method in METHODS else "(other)"  # a stranger chooses the method's name
    REQUESTS.labels(known, route, str(status)).inc()
    SECONDS.labels(known, route).observe(seconds)


def serve_metrics(default_port: int) -> None:
    """Serve this process's metrics, or those of all its workers where PROMETHEUS_MULTIPROC_DIR is set.

    The port is METRICS_PORT where set, else `default_port`; 0 is off. A port that is taken costs the metrics, not the
    process.
    """
    port = default_port if settings.METRICS_PORT is None else settings.METRICS_PORT
    if not port:
        return
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    try:
        start_http_server(port, settings.METRICS_ADDRESS, registry)
    except OSError as error:
        log.error("no metrics: cannot listen on %s:%s: %s", settings.METRICS_ADDRESS, port, error)
