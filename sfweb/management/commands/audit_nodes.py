"""What should not be: every node's inventory against the rows, and the rows against each other; reads only."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sfweb.domain import audit
from sfweb.models import Node
from sfweb.models.state import State
from sfweb.schema import require_current_schema


class Command(BaseCommand):
    help = "Print one line for each thing that leaked, is missing or does not add up; fails when there is any."

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_schema()
        found = audit.findings(Node.objects.exclude(state=State.DELETED).order_by("name"))
        for line in found:
            self.stdout.write(line)
        if found:
            raise CommandError(f"{len(found)} findings")
