"""guest_put: a blob comes to the guest's node, then into the guest."""

import pytest

from nodeagent.host import Retry
from sftasks.operations import guest_put
from sfweb.domain.specs import GuestFile
from sfweb.models import AgentOperation, Blob, Disk
from tests.cluster import repeats_are_harmless
from tests.operations.talking import make_talk, row_of


@pytest.fixture
def talking(guest):
    return make_talk(guest)


def put(cluster):
    blob = Disk.objects.get(instance=cluster.instance).blob
    file = GuestFile(path="/etc/motd", mode=0o100600, seconds=60, patience=30)
    return cluster.ask(guest_put.request, cluster.caller, cluster.instance, blob, file)


def test_ag_1_the_file_is_in_the_guest(talking):
    accepted = put(talking)
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.results) == ("complete", {"0": {}, "1": {}})
    assert talking.home.host.guests.modes[str(talking.instance.pk), "/etc/motd"] == 0o100600
    assert talking.findings() == []


def test_repeats_are_harmless(talking):
    assert repeats_are_harmless(talking, put).state == "succeeded"


def test_ag_5_a_transfer_is_tried_three_times(talking):
    talking.home.host.fail_next("write_in_guest", Retry("guest.silent"), times=2)
    accepted = put(talking)
    talking.settle()
    assert row_of(accepted).state == "complete"
    talking.home.host.fail_next("write_in_guest", Retry("guest.silent"), times=3)
    accepted = put(talking)
    talking.settle()
    row = row_of(accepted)
    assert (row.state, row.error_message) == ("error", "guest.silent: guest.silent")
    assert Blob.objects.get(pk=row.blob_id).state == "created"
    assert AgentOperation.objects.count() == 2
