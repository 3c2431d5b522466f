"""Compare every node with the rows, both ways: asks each for a fresh inventory, waits for it, prints what should not be."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from sfweb.domain.audit import findings
from sfweb.models import Node
from sfweb.models.fields import UtcNow
from sfweb.models.state import State
from sfweb.schema import require_current_schema

LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Print what nodes hold and should not, lack and should have, and rows that contradict each other."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait", type=float, default=90.0, help="seconds for the nodes to give a fresh inventory (90)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_schema()
        nodes = Node.objects.exclude(state=State.DELETED)
        found = [f"{name}: has not answered" for name in _refresh(nodes, options["wait"])]
        found += findings(nodes.order_by("name"))
        for line in found:
            self.stdout.write(line)
        if found:
            raise CommandError(f"{len(found)} findings")
        self.stdout.write(f"{nodes.count()} nodes and the rows agree")


def _refresh(nodes: Any, seconds: float) -> list[str]:
    """Ask all nodes for a look at themselves that begins now; the names of those that gave none in time."""
    asked = Node.objects.annotate(now=UtcNow()).values_list("now", flat=True).first()
    nodes.update(inventory_wanted=True)
    end = time.monotonic() + seconds
    while True:
        late = nodes.filter(Q(inventory_at__isnull=True) | Q(inventory_at__lte=asked)).values_list("name", flat=True)
        waiting = list(late)
        if not waiting or time.monotonic() > end:
            return waiting
        time.sleep(LOOK_SECONDS)
