"""One claim of ours and one by hand, and both without HTTP: `python -m bench.claims ours|raw SECONDS` prints claims a second.

Two processes of eight threads repeat it. Ours is what a create does to place an instance: choose a node, take its room,
write the reservation and its event, commit. Not in it are the lock of the namespace, which is for its ceilings, and the
instance's own row, which is there before. By hand: ten nodes of most free memory, one of them at random, a row and a
guarded UPDATE.
"""

import multiprocessing
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from bench.raw_connection import connect

Claim = Callable[[uuid.UUID], None]
PROCESSES, THREADS = 2, 8
ROOM = (1, 1024, 10)
"""CPUs, MiB, GiB."""
_mine = threading.local()


def make_ours() -> Claim:
    """The claim of the product, for an instance that is there."""
    import django

    django.setup()
    from sfweb.domain import placement, reservations
    from sfweb.domain.placement_rules import Asked, Room
    from sfweb.domain.transactions import durable

    cpus, memory_mb, disk_gb = ROOM
    asked = [Asked(room=Room(cpus=cpus, memory_mb=memory_mb, disk_gb=disk_gb))]

    @durable
    def claim(instance: uuid.UUID) -> None:
        chosen = placement.place(asked)
        reservations.record({instance: chosen[0]}, asked)

    return claim


def make_raw() -> Claim:
    return claim_by_hand


def claim_by_hand(claim: uuid.UUID) -> None:
    """Over this thread's connection."""
    if not hasattr(_mine, "cursor"):
        _mine.cursor = connect(os.environ["DATABASE_URL"]).cursor()
    cursor = _mine.cursor
    cpus, memory_mb, disk_gb = ROOM
    cursor.execute(
        "SELECT uuid FROM raw.nodes WHERE free >= %s AND cpus - used_cpus >= %s AND disk_gb - used_disk_gb >= %s"
        " ORDER BY free DESC LIMIT 10",
        [memory_mb, cpus, disk_gb],
    )
    node = random.choice(cursor.fetchall())[0]
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO raw.claims VALUES (%s, %s, %s, %s, %s)", [str(claim), node, *ROOM])
    cursor.execute(
        "UPDATE raw.nodes SET used_cpus = used_cpus + %s, used_memory_mb = used_memory_mb + %s,"
        " used_disk_gb = used_disk_gb + %s WHERE uuid = %s AND used_cpus + %s <= cpus"
        " AND used_memory_mb + %s <= memory_mb AND used_disk_gb + %s <= disk_gb",
        [*ROOM, node, *ROOM],
    )
    assert cursor.rowcount == 1
    cursor.execute("COMMIT")


MAKERS: dict[str, Callable[[], Claim]] = {"ours": make_ours, "raw": make_raw}


def instances(url: str) -> list[uuid.UUID]:
    """What there is in that database to be placed."""
    link = connect(url)
    cursor = link.cursor()
    cursor.execute("SELECT uuid FROM instances WHERE name LIKE 'n%'")
    found = [uuid.UUID(text) for (text,) in cursor.fetchall()]
    link.close()
    return found


def repeat(claim: Claim, mine: Iterator[uuid.UUID], seconds: float, done: list[int]) -> None:
    number, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        claim(next(mine))
        number += 1
    done.append(number)


def work(side: str, mine: list[uuid.UUID], seconds: float, ready: Any, results: Any) -> None:
    """One process; puts its claims a second into `results`."""
    claim, left = MAKERS[side](), iter(mine)
    done: list[int] = []
    threads = [threading.Thread(target=repeat, args=(claim, left, seconds, done)) for _ in range(THREADS)]
    ready.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(sum(done) / (time.perf_counter() - begin))


def main() -> None:
    side, seconds = sys.argv[1], float(sys.argv[2])
    waiting = instances(os.environ["DATABASE_URL"])
    ready, results = multiprocessing.Barrier(PROCESSES), multiprocessing.Queue()
    shares = [waiting[number::PROCESSES] for number in range(PROCESSES)]
    workers = [multiprocessing.Process(target=work, args=(side, share, seconds, ready, results)) for share in shares]
    for worker in workers:
        worker.start()
    print(sum(results.get(timeout=seconds + 60) for _ in workers))
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
