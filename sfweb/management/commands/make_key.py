"""Make or rotate a key from a control-plane host: the way back in when every secret of `system` was lost (AU-7)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sfweb.domain.callers import CLUSTER
from sfweb.domain.keys import Terms, make_key
from sfweb.domain.scopes import EVERYTHING
from sfweb.errors import SteadyfistError
from sfweb.models import Namespace
from sfweb.models.state import State
from sfweb.schema import require_current_schema


class Command(BaseCommand):
    help = "Make or rotate a key that lasts and may everything; its secret is printed once and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("namespace")
        parser.add_argument("key_name")

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_schema()
        namespace = Namespace.objects.filter(name=options["namespace"], state=State.CREATED).first()
        if namespace is None:
            raise CommandError(f"namespace not found: {options['namespace']}")
        try:
            secret = make_key(CLUSTER, namespace, options["key_name"], Terms(scopes=(EVERYTHING,)))
        except SteadyfistError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(secret)
