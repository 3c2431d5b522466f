"""Move one running instance to a node that has received it, once. The guest goes on running.

However this ends, the control plane looks at both nodes before it decides anything (EN-8): an error does not prove that
the guest is still here.
"""

import dataclasses
from dataclasses import dataclass

from nodeagent.action import Action, Result
from nodeagent.host import Call, Host, Movement, Refused
from nodeagent.specs import InstanceSpec, require_address, require_port, spec_digest


@dataclass(frozen=True, kw_only=True)
class Request:
    """`spec` as it is here; address and ports are those of the other node."""

    spec: InstanceSpec
    address: str
    console_port: int
    vdi_port: int

    def __post_init__(self) -> None:
        require_address(self.address, "address")
        require_port(self.console_port, "console_port")
        require_port(self.vdi_port, "vdi_port")


def run(request: Request, host: Host, call: Call) -> Result:
    domain = host.domain(request.spec.instance)
    if domain is None:
        raise Refused("instance.off", f"instance {request.spec.instance} does not run")
    there = dataclasses.replace(request.spec, console_port=request.console_port, vdi_port=request.vdi_port)
    # What waits for the next start goes on waiting for it.
    is_newest = domain.digest == spec_digest(request.spec)
    digest = spec_digest(there) if is_newest else domain.digest
    host.migrate_domain(Movement(address=request.address, spec=there, digest=digest), call)
    return Result(change="removed")


ACTION = Action(
    name="migrate_instance",
    version=1,
    request=Request,
    run=run,
    once=True,
    bulk=True,
    max_seconds=6 * 3600,
    refusals=frozenset(
        {
            "cancelled",
            "instance.off",
            "migration.cpu",
            "migration.failed",
            "migration.no_tls",
            "migration.unsupported",
        }
    ),
)
