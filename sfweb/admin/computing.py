"""Instances, networks, and what belongs to them."""

import ipaddress
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from sftasks.operations import instance_delete, network_delete
from sfweb.admin.pages import ReadOnlyPage, for_each
from sfweb.models import Address


class InstancePage(ReadOnlyPage):
    list_display = ("name", "namespace", "state", "observed_power", "node", "cpus", "memory_mb", "created_at")
    list_filter = ("state", "observed_power")
    search_fields = ("name", "uuid", "namespace__name", "node__name")
    list_select_related = ("namespace", "node")
    date_hierarchy = None
    ordering = ("-created_at",)
    secret_fields = ("user_data", "ssh_key")
    actions = ("delete_instances",)

    @admin.action(description="Delete the chosen instances", permissions=["act"])
    def delete_instances(self, request: HttpRequest, rows: Any) -> None:
        for_each(self, request, rows.select_related("namespace"), instance_delete.request)


class AgentOperationPage(ReadOnlyPage):
    """What is run in guests and what comes out is their owners' alone."""

    list_display = ("uuid", "instance", "namespace", "state", "deadline", "created_at", "finished_at")
    list_filter = ("state",)
    search_fields = ("uuid", "instance__name", "instance__uuid")
    list_select_related = ("instance", "namespace")
    secret_fields = ("commands", "results")


class DiskPage(ReadOnlyPage):
    list_display = ("instance", "device", "bus", "kind", "size_gb", "blob")
    list_filter = ("bus", "kind")
    search_fields = ("instance__name", "instance__uuid", "base")
    list_select_related = ("instance", "blob")


class InterfacePage(ReadOnlyPage):
    list_display = ("mac", "instance", "network", "address", "floating", "state")
    list_filter = ("state", "model")
    search_fields = ("uuid", "mac", "address", "floating", "instance__name", "network__name")
    list_select_related = ("instance", "network")


class NetworkPage(ReadOnlyPage):
    list_display = ("name", "namespace", "state", "netblock", "vni", "provide_dhcp", "provide_nat", "created_at")
    list_filter = ("state", "provide_dhcp", "provide_nat", "provide_dns")
    search_fields = ("name", "uuid", "namespace__name", "netblock")
    list_select_related = ("namespace",)
    ordering = ("-created_at",)
    actions = ("delete_networks",)

    @admin.action(description="Delete the chosen networks", permissions=["act"])
    def delete_networks(self, request: HttpRequest, rows: Any) -> None:
        for_each(self, request, rows.select_related("namespace"), network_delete.request)


class AddressPage(ReadOnlyPage):
    list_display = ("shown", "network", "kind", "owner_type", "owner_uuid", "reserved_at", "released_at")
    list_filter = ("kind",)
    search_fields = ("owner_uuid", "network__name", "comment")
    list_select_related = ("network",)

    @admin.display(description="address", ordering="value")
    def shown(self, row: Address) -> str:
        return str(ipaddress.IPv4Address(row.value))


class CarrierPage(ReadOnlyPage):
    list_display = ("network", "node", "epoch", "expires_at")
    search_fields = ("network__name", "node__name")
    list_select_related = ("network", "node")


class DhcpLeasePage(ReadOnlyPage):
    list_display = ("network", "mac", "address", "hostname", "expires_at")
    search_fields = ("mac", "address", "hostname", "network__name")
    list_select_related = ("network",)


class DnsEntryPage(ReadOnlyPage):
    list_display = ("network", "name", "address")
    search_fields = ("name", "address", "network__name")
    list_select_related = ("network",)


class ReservationPage(ReadOnlyPage):
    list_display = (
        "instance",
        "node",
        "state",
        "cpus",
        "memory_mb",
        "disk_gb",
        "created_at",
        "expires_at",
        "released_at",
    )
    list_filter = ("state",)
    search_fields = ("instance__name", "node__name")
    list_select_related = ("instance", "node")
