"""`manage.py node_is_dead NAME`: give up a node that will not come back, and all that it held (EN-12)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sftasks import moves
from sfweb.domain import node_life
from sfweb.domain.lookup import find_node
from sfweb.domain.transactions import durable
from sfweb.errors import SteadyfistError


class Command(BaseCommand):
    help = "Declare a node dead: what it took is free again, its instances are in error. Asks for the name twice."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--again", help="the name once more, instead of being asked for it")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        again = options["again"] or input(f"If {name} comes back, guests may run twice. Its name again: ")
        if again != name:
            raise CommandError("the names differ; nothing was changed")
        try:
            node = find_node(name)
            counts = node_life.declare_dead(node)
        except SteadyfistError as error:
            raise CommandError(str(error)) from None
        durable(moves.settle_all_on)(node.pk)
        self.stdout.write(f"{name} is dead: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
