"""`manage.py accept_node NAME`: accept the journal that a node reports now, after it lost the one it had (EN-12)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sfweb.domain import node_life
from sfweb.domain.lookup import find_node
from sfweb.errors import SteadyfistError


class Command(BaseCommand):
    help = "Accept a node that came back with another journal. Instances leave their error once their disks were seen twice."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            node = find_node(options["name"])
            node_life.accept(node)
        except SteadyfistError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{node.name} is accepted")
