"""Instances of a FakeHost that come from another one, and domains that go there, as libvirt moves them."""

from typing import TYPE_CHECKING, Any

from nodeagent.fake_files import FakeFiles
from nodeagent.host import Call, Movement, Refused, Retry
from nodeagent.specs import InstanceSpec

if TYPE_CHECKING:
    from nodeagent.fake_host import FakeHost


class FakeMoves(FakeFiles):
    """`neighbours`: {mesh address: host} of those that a domain can go to; `stubborn`: guests that never shut down."""

    neighbours: dict[str, "FakeHost"]
    stubborn: set[str]

    def copy_instance(self, spec: InstanceSpec, peer: str, call: Call, *, disks: bool) -> str:
        call.instance_ticket(spec.instance, peer)
        call.progress(50)

        def act(held: dict[str, Any]) -> str:
            have = held["disks"].setdefault(spec.instance, {})
            missing = [disk for disk in spec.disks if disks and disk.file not in have]
            have.update({disk.file: disk.blob for disk in missing})
            held["sizes"].setdefault(spec.instance, {}).update({disk.file: disk.size_gb for disk in missing})
            drive = spec.config_drive and spec.instance not in held["config_drives"]
            if drive:
                held["config_drives"][spec.instance] = spec.name
            return "created" if missing or drive else "unchanged"

        return self._change("copy_instance", spec.instance, act)

    def migrate_domain(self, move: Movement, call: Call) -> None:
        """As libvirt does: the domain is there before it has gone from here, and it is never lost."""
        instance, there = move.spec.instance, self.neighbours.get(move.address)
        if there is None:
            raise Refused("migration.failed", f"no libvirt answers at {move.address}")
        call.progress(50)

        def act(held: dict[str, Any]) -> str:
            if instance not in held["domains"]:
                raise Retry("domain.missing", f"domain {instance} has just gone")
            there.accept_domain(move, held["domains"][instance])
            del held["domains"][instance]
            return "removed"

        self._change("migrate_domain", instance, act)

    def accept_domain(self, move: Movement, domain: dict[str, Any]) -> None:
        """The other end: refused unless the domain's disks are here."""
        instance = move.spec.instance
        ports = [move.spec.console_port, move.spec.vdi_port]

        def act(held: dict[str, Any]) -> str:
            if set(domain["disks"]) - set(held["disks"].get(instance, {})) or instance in held["domains"]:
                raise Refused("migration.failed", "the other node has not received the instance")
            held["domains"][instance] = {**domain, "digest": move.digest, "ports": ports}
            return "created"

        self._change("accept_domain", instance, act)
