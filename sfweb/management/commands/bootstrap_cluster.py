"""Fill an empty schema with what a cluster needs before its first request; harmless to repeat (RP-5 to RP-9)."""

import ipaddress
import os
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from sftasks.schedule import install
from sfweb.domain.callers import CLUSTER
from sfweb.domain.keys import put_key
from sfweb.domain.names import check_key_name
from sfweb.domain.namespaces import create_namespace
from sfweb.errors import SteadyfistError
from sfweb.models import FLOATING, Address, AddressKind, BootstrapOperation, Duty, Namespace, Network
from sfweb.models.fields import UtcNow
from sfweb.models.namespace import SYSTEM
from sfweb.models.state import State
from sfweb.schema import require_current_schema


class Command(BaseCommand):
    help = "Make the system namespace with its first key, the floating network and the list of duties."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--key-name", default="deploy", help="name of the first key of the system namespace")
        parser.add_argument(
            "--key-from-stdin", action="store_true", help="read that key from standard input; else it is in SYSTEM_KEY"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require_current_schema()
        once: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("system_namespace", _make_system),
            ("system_key", lambda: _make_key(options["key_name"], options["key_from_stdin"])),
            ("floating_network", _make_floating_network),
        ]
        for name, step in once:
            try:
                self.stdout.write(f"{name}: {_run_once(name, step)}")
            except SteadyfistError as error:
                raise CommandError(f"{name}: {error}") from error
        before = Duty.objects.count()
        install()  # on every run, because versions add some (RP-9)
        added = Duty.objects.count() - before
        self.stdout.write(f"duties: {f'{added} added' if added else 'already done'}")


def _run_once(name: str, step: Callable[[], dict[str, Any]]) -> str:
    """Do one step and write its row in the same transaction (RP-6); one that has its row is left alone (RP-7)."""
    with transaction.atomic():
        row, is_new = BootstrapOperation.objects.get_or_create(
            name=name, defaults={"completed_at": UtcNow(), "actor": _actor()}
        )
        if not is_new:
            return "already done"
        BootstrapOperation.objects.filter(pk=row.pk).update(details=step())
    return "done"


def _actor() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"


def _make_system() -> dict[str, Any]:
    if not Namespace.objects.filter(name=SYSTEM).exists():
        create_namespace(CLUSTER, SYSTEM)
    return {"namespace": SYSTEM}


def _make_key(name: str, from_stdin: bool) -> dict[str, Any]:
    """The operator brings the key; one that was made here silently would be unknown to everybody (RP-8)."""
    check_key_name(name, "--key-name")
    secret = sys.stdin.readline().rstrip("\n") if from_stdin else os.environ.get("SYSTEM_KEY", "")
    if not secret:
        raise CommandError("the first key of the system namespace is needed: SYSTEM_KEY, or --key-from-stdin")
    put_key(CLUSTER, Namespace.objects.get(name=SYSTEM), name, secret)
    return {"key_name": name}


def _make_floating_network() -> dict[str, Any]:
    """The outside block, with those addresses taken that belong to no one."""
    block = ipaddress.IPv4Network(settings.FLOATING_NETWORK)
    gateway = ipaddress.IPv4Address(settings.FLOATING_GATEWAY or block.network_address + 1)
    if gateway not in block:
        raise CommandError(f"FLOATING_GATEWAY {gateway} is not inside FLOATING_NETWORK {block}")
    network = Network.objects.create(
        uuid=FLOATING,
        namespace=Namespace.objects.get(name=SYSTEM),
        name="floating",
        state=State.CREATED,
        netblock=str(block),
        provide_dhcp=False,
        provide_nat=False,
    )
    taken = {
        AddressKind.NETWORK: block.network_address,
        AddressKind.BROADCAST: block.broadcast_address,
        AddressKind.GATEWAY: gateway,
    }
    Address.objects.bulk_create(
        [
            Address(network=network, value=int(address), kind=kind, owner_type="network", owner_uuid=network.pk)
            for kind, address in taken.items()
        ]
    )
    return {"netblock": str(block), "gateway": str(gateway)}
