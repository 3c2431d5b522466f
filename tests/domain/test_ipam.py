"""Addresses: full networks, halos, congestion (IP-2 to IP-7)."""

import uuid

import pytest
from django.db.models import ProtectedError

from sfweb.domain import ipam
from sfweb.errors import Conflict, Invalid, NoCapacity
from sfweb.models import Address, Namespace, Network
from sfweb.models.fields import FromNow


@pytest.fixture
def network(db):
    """A /29: three roles, five addresses."""
    made = Network.objects.create(
        namespace=Namespace.objects.create(name="tenant"), name="small", netblock="10.0.0.0/29", vni=7
    )
    ipam.open_block(made)
    return made


def take(network):
    owner = uuid.uuid4()
    return owner, ipam.reserve_random(network, "instance", "interface", owner)


def test_ga_5_every_free_address_is_found_and_the_next_is_refused(network):
    addresses = [take(network)[1] for _ in range(5)]
    assert sorted(addresses) == [f"10.0.0.{number}" for number in range(2, 7)]
    with pytest.raises(NoCapacity) as caught:
        take(network)
    assert (caught.value.transient, caught.value.stage) == (False, ""), "IP-6: waiting 15 s does not help"


def test_ip_4_a_released_address_rests_five_minutes(network):
    owners = [take(network) for _ in range(5)]
    ipam.release_owned(owners[0][0])
    row = Address.objects.get(kind="deletion-halo")
    assert (row.owner_uuid, row.owner_type) == (None, "")
    with pytest.raises(NoCapacity):
        take(network)
    Address.objects.filter(pk=row.pk).update(released_at=FromNow(-301))
    assert take(network)[1] == owners[0][1]


def test_ip_3_a_full_network_shortens_the_halo_to_thirty_seconds(network):
    owners = [take(network) for _ in range(5)]
    ipam.release_owned(owners[3][0])
    Address.objects.filter(kind="deletion-halo").update(released_at=FromNow(-31))
    assert take(network)[1] == owners[3][1]


def test_ip_7_a_fixed_address_in_its_halo_is_taken_over_and_a_used_one_is_not(network):
    owner, address = take(network)
    with pytest.raises(Conflict):
        ipam.reserve_fixed(network, address, "instance", "interface", uuid.uuid4())
    ipam.release_owned(owner)
    assert ipam.reserve_fixed(network, address, "instance", "interface", uuid.uuid4()) == address


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.7", "10.0.0.1"])
def test_ip_1_the_three_roles_are_never_given_away(network, address):
    with pytest.raises(Conflict):
        ipam.reserve_fixed(network, address, "instance", "interface", uuid.uuid4())


@pytest.mark.parametrize("address", ["10.0.0.8", "192.168.0.1", "not an address", "::1"])
def test_ni_1_an_address_outside_the_block_is_invalid(network, address):
    with pytest.raises(Invalid):
        ipam.reserve_fixed(network, address, "instance", "interface", uuid.uuid4())


def test_ip_4_release_is_harmless_when_repeated(network):
    owner, _ = take(network)
    assert ipam.release_owned(owner) == 1
    assert ipam.release_owned(owner) == 0


def test_ip_8_no_address_outlives_its_network(network):
    """The database refuses it, so there is nothing for maintenance to find."""
    with pytest.raises(ProtectedError):
        network.delete()
    assert Address.objects.filter(network=network).count() == 3
