"""Whose step a node gets next (EN-10): namespaces take turns, and one alone leaves a thread to the others.

Part of the engine. Which steps a node may be sent is in `dispatch.py`; here is only in what order, and how many.
"""

import heapq
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from sftasks import statements
from sftasks.statements import Due
from sfweb.models import Step

THREADS = {False: 8, True: 2}
"""Threads of a node's two workers, by `bulk`; twice as many steps are in flight at most (EN-10)."""
OF_ONE_LANE = {False: 7, True: 2}
"""So many of those in flight are one lane's at most. A thread for quick steps is then always somebody else's; of two threads
that move bulk, half would be too dear for who is alone.
"""
CONSIDERED = 64
"""Lanes that one choice looks at: those with the fewest in flight, by chance where more are alike."""


class Line:
    """The open steps of one node's kind of worker, as one transaction has found them, and has sent of them since."""

    def __init__(self, node: UUID, bulk: bool) -> None:
        self._node = node
        self._bulk = bulk
        self._queue = statements.queues(node)[bulk]
        self._due: list[Due] | None = None

    def is_turn_of(self, step: Step) -> bool:
        """Whether a planned step whose stage has begun goes now: its lane has the fewest in flight, or it would be chosen."""
        mine = self._queue.sent.get(step.lane, 0)
        if all(self._queue.sent.get(lane, 0) > mine for lane in self._queue.planned if lane != step.lane):
            return mine < OF_ONE_LANE[self._bulk]
        if self._due is None:
            self._due = _due(self._node, self._bulk, self._queue)
        it = Due(step.pk, step.lane, step.priority, step.asked_at)
        others = [due for due in self._due if due.step != step.pk]
        return it in _choose(self._bulk, self._queue.sent, sorted([*others, it], key=Due.order))

    def note_sent(self, step: Step) -> None:
        self._queue.sent[step.lane] = self._queue.sent.get(step.lane, 0) + 1
        self._due = self._due and [due for due in self._due if due.step != step.pk]


def next_due(node: UUID, bulk: bool, queue: statements.Queue) -> list[UUID]:
    """The planned steps to send next, as many as the queue has room for."""
    return [due.step for due in _choose(bulk, queue.sent, _due(node, bulk, queue))]


def has_room(sent: Mapping[UUID, int], bulk: bool, lane: UUID | None = None) -> bool:
    """Whether one more step may be in flight to the node's queue: of anybody, or of this lane (EN-10)."""
    if sum(sent.values()) >= 2 * THREADS[bulk]:
        return False
    return lane is None or sent.get(lane, 0) < OF_ONE_LANE[bulk]


def _due(node: UUID, bulk: bool, queue: statements.Queue) -> list[Due]:
    """What can be chosen of, in order."""
    lanes = [lane for lane in queue.planned if has_room(queue.sent, bulk, lane)]
    lanes = heapq.nsmallest(CONSIDERED, lanes, key=lambda lane: (queue.sent.get(lane, 0), random.random()))
    return statements.due_steps(node, bulk, lanes, OF_ONE_LANE[bulk]) if lanes else []


def _choose(bulk: bool, sent: Mapping[UUID, int], ordered: Sequence[Due]) -> list[Due]:
    """First the oldest of the lane with the fewest in flight, again and again; of lanes with as few, the oldest.

    One lane gets fewer than there are threads: what waits behind those in the node's own line is out of every choice's reach.
    """
    flying, left = Counter(sent), list(ordered)
    chosen: list[Due] = []
    while left:
        pick = min(left, key=lambda due: flying[due.lane])
        if not has_room(flying, bulk, pick.lane):
            break
        left.remove(pick)
        flying[pick.lane] += 1
        chosen.append(pick)
    return chosen
