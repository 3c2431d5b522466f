"""The DHCP leases that this node's resolvers have given out, for the control plane to keep (CM-10)."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 60.0


def run(around: Surroundings) -> None:
    if around.net is None:
        return
    routers = around.net.inventory().routers
    around.findings.facts["dhcp_leases"] = [
        {"network": network, "mac": lease.mac, "address": lease.address, "name": lease.name, "expires": lease.expires}
        for network, vni in routers.items()
        for lease in around.net.leases(network, vni).leases
    ]


DUTY = Duty(name="dhcp_leases", period=PERIOD_SECONDS, run=run)
