"""Make a node known, or give a known one a new identity: prints the one line that its agent exchanges (EN-12)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sfweb.domain.enrolment import enrol
from sfweb.errors import SteadyfistError
from sfweb.internal import joining
from sfweb.schema import require_current_schema


class Command(BaseCommand):
    help = "Print the line to pipe into `python -m nodeagent enrol` on the host. It is good once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the node's name, usually the host's")
        parser.add_argument("--replace", action="store_true", help="even when the node reported a moment ago")

        parser.add_argument("--returned", action="store_true", help="a node that was declared dead or deleted is back")

        parser.add_argument(
            "--join", action="store_true", help="print a line that makes a fresh Debian 12 host the node"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_schema()
        try:
            line = enrol(options["name"], replace=options["replace"], returned=options["returned"])
        except SteadyfistError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(joining.line(options["name"], line) if options["join"] else line)
