"""The peer of `bench.steps`: one step in bare Celery. The node's worker sends a settle task back, whose worker notes it.

Same pool, prefetch, acknowledgement and delivery as ours, without rows, signature, journal or HTTP.
"""

import os
import time

import redis
from celery import Celery

URL = os.environ.get("BENCH_BROKER_URL", "")
app = Celery("bare", broker=URL)
app.conf.update(
    task_ignore_result=True,
    result_backend=None,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    task_default_delivery_mode=1,
    worker_hijack_root_logger=False,
    broker_pool_limit=20,
    task_create_missing_queues=True,
)
PAYLOAD = {
    "token": "0f3a1e34-aaaa-4bbb-8ccc-1234567890ab",
    "action": "observe_instance",
    "object_key": "instance:0f3a1e34-dddd-4eee-8fff-1234567890ab",
    "generation": 17,
    "request": {"instance": "0f3a1e34-dddd-4eee-8fff-1234567890ab"},
}
NOTES = "bench.settled"
_client: list["redis.Redis"] = []


def notes() -> "redis.Redis":
    if not _client:
        _client.append(redis.Redis.from_url(URL, socket_timeout=60))
    return _client[0]


@app.task(name="perform")
def perform(sequence: int, sent_at: float, request: dict[str, object]) -> None:
    outcome = {"kind": "done", "token": request["token"]}
    settle.apply_async((sequence, sent_at, outcome), queue="bare.control")


@app.task(name="settle")
def settle(sequence: int, sent_at: float, outcome: dict[str, object]) -> None:
    notes().rpush(NOTES, f"{sequence} {sent_at} {time.time()}")


def send(sequence: int) -> None:
    perform.apply_async((sequence, time.time(), PAYLOAD), queue="bare.node")


def measure(steps: int, in_flight: int) -> tuple[float, list[float]]:
    """Closed loop; (steps a second, latencies in seconds)."""
    notes().delete(NOTES)
    latencies: list[float] = []
    sent = 0
    begin = time.perf_counter()
    while sent < min(in_flight, steps):
        send(sent)
        sent += 1
    while len(latencies) < steps:
        found = notes().blpop([NOTES], timeout=30)
        if not found:
            raise RuntimeError("bare Celery lost a step")
        _, departed, arrived = found[1].decode().split()
        latencies.append(float(arrived) - float(departed))
        if sent < steps:
            send(sent)
            sent += 1
    return steps / (time.perf_counter() - begin), sorted(latencies)
