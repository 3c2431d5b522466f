"""guest_get: a file of the guest becomes a blob of whoever asked."""

import pytest

from sftasks import engine
from sftasks.operations import guest_get
from sfweb.domain.lookup import may_read_blob
from sfweb.domain.specs import GuestFile
from sfweb.models import Blob
from tests.cluster import repeats_are_harmless
from tests.factories import make_namespace
from tests.operations.talking import make_talk, row_of


@pytest.fixture
def talking(guest):
    make_talk(guest)
    guest.home.host.guests.files[str(guest.instance.pk), "/etc/motd"] = b"welcome"
    return guest


def get(cluster, path="/etc/motd"):
    file = GuestFile(path=path, seconds=60, patience=30)
    return cluster.ask(guest_get.request, cluster.caller, cluster.instance, file)


def test_se_11_the_blob_is_its_askers_alone(talking):
    accepted = get(talking)
    talking.settle()
    row = row_of(accepted)
    blob = Blob.objects.get(pk=row.results["0"]["content_blob"])
    assert (row.state, blob.state, blob.size) == ("complete", "created", len(b"welcome"))
    assert may_read_blob(talking.caller, blob)
    assert not may_read_blob(make_namespace("stranger"), blob)
    assert talking.findings() == []


def test_repeats_are_harmless(talking):
    assert repeats_are_harmless(talking, get).state == "succeeded"


def test_a_file_that_is_not_there_leaves_no_blob(talking):
    accepted = get(talking, "/none")
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.blob) == ("error", None)
    assert "No such file" in row.error_message
    assert not Blob.objects.filter(state__in=("initial", "created"), agent_operations__isnull=False).exists()
    assert talking.findings() == []


def test_one_that_is_taken_back_leaves_no_blob(talking):
    talking.home.host.guests.silent.add(str(talking.instance.pk))
    accepted = get(talking)
    talking.settle(rounds=1)
    talking.run(engine.cancel, accepted.operation.pk, talking.caller)
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.blob) == ("error", None)
    assert talking.findings() == []
