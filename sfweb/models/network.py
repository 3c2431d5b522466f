"""Networks, the interfaces on them, and every address that is taken or resting."""

import uuid

from django.db import models

from sfweb.models.fields import CreatedField, NameField
from sfweb.models.instance import Instance
from sfweb.models.namespace import Namespace
from sfweb.models.node import Node
from sfweb.models.state import State

FLOATING = uuid.UUID("00000000-0000-4000-8000-00000000f10a")
"""The one network without a VNI: the block that egress and floating addresses come from."""


class Network(models.Model):
    """A VXLAN segment. Two generations, for two objects on a node: the bridge with its mesh, and the router (EN-1).

    peers_due_at  when the nodes that hold it learn of members that came or went; null while there is no such news (EN-20)
    """

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="networks")
    name = NameField()
    state = models.CharField(max_length=16, default=State.INITIAL)
    error_message = models.TextField(null=True)
    netblock = models.CharField(max_length=18)
    provide_dhcp = models.BooleanField(default=True)
    provide_nat = models.BooleanField(default=True)
    provide_dns = models.BooleanField(default=False)
    vni = models.PositiveIntegerField(null=True, unique=True)
    floating_gateway = models.GenericIPAddressField(protocol="IPv4", null=True)
    peers_due_at = models.DateTimeField(null=True, db_index=True)
    mesh_generation = models.PositiveBigIntegerField(default=1)
    router_generation = models.PositiveBigIntegerField(default=1)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "networks"
        indexes = [
            models.Index(fields=["namespace", "state", "name"]),
            models.Index(fields=["state", "created_at"]),
            models.Index(fields=["namespace", "created_at"]),
            models.Index(fields=["created_at"]),
            models.Index(fields=["name"]),
        ]

    def __str__(self) -> str:
        return self.name


class Interface(models.Model):
    """One network card. `mac` is null once deleted, so that the value is free again."""

    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="interfaces")
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="interfaces")
    mac = models.CharField(max_length=17, null=True, unique=True)
    former_mac = models.CharField(max_length=17, null=True)
    address = models.GenericIPAddressField(protocol="IPv4", null=True)
    floating = models.GenericIPAddressField(protocol="IPv4", null=True)
    order = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=16, default="virtio")
    state = models.CharField(max_length=16, default=State.INITIAL)
    created_at = CreatedField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "interfaces"
        indexes = [models.Index(fields=["network", "state"]), models.Index(fields=["instance", "order"])]


class AddressKind(models.TextChoices):
    NETWORK = "network"
    BROADCAST = "broadcast"
    GATEWAY = "gateway"
    FLOATING = "floating"
    ROUTED = "routed"
    INSTANCE = "instance"
    HALO = "deletion-halo"


class Address(models.Model):
    """One reserved address: `value` is the IPv4 number. A released one rests as `deletion-halo` (IP-4)."""

    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="addresses")
    value = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=16, choices=AddressKind.choices)
    owner_type = models.CharField(max_length=16, default="")
    owner_uuid = models.UUIDField(null=True)
    comment = models.CharField(max_length=255, default="")
    reserved_at = CreatedField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "addresses"
        verbose_name_plural = "addresses"
        constraints = [models.UniqueConstraint(fields=["network", "value"], name="address_once")]
        indexes = [models.Index(fields=["network", "kind", "released_at"]), models.Index(fields=["owner_uuid"])]


class CarrierLease(models.Model):
    """Which node serves the network, for which epoch, until when by the database's clock (EN-11)."""

    network = models.OneToOneField(Network, primary_key=True, on_delete=models.CASCADE, related_name="carrier")
    node = models.ForeignKey(Node, null=True, on_delete=models.PROTECT, related_name="carries")
    epoch = models.PositiveBigIntegerField(default=1)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "carrier_leases"
        indexes = [models.Index(fields=["node", "expires_at"])]


class DhcpLease(models.Model):
    """A DHCP lease that the carrier's server has given out, as its node reported it (CM-10)."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="dhcp_leases")
    mac = models.CharField(max_length=17)
    address = models.GenericIPAddressField(protocol="IPv4")
    hostname = NameField(default="")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "dhcp_leases"
        verbose_name = "DHCP lease"
        constraints = [models.UniqueConstraint(fields=["network", "mac"], name="lease_mac_once")]


class DnsEntry(models.Model):
    """A name that the owner hosts on the network beside the instances' own."""

    network = models.ForeignKey(Network, on_delete=models.CASCADE, related_name="dns_entries")
    name = NameField(max_length=253)
    address = models.GenericIPAddressField(protocol="IPv4")

    class Meta:
        db_table = "dns_entries"
        verbose_name = "DNS entry"
        verbose_name_plural = "DNS entries"
        constraints = [models.UniqueConstraint(fields=["network", "name"], name="dns_name_once")]
