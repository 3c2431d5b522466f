"""A guest's screen: files for a viewer, addresses that work once, pictures (SE-11, SE-15)."""

import time
from typing import Any

import pytest
from django.test import Client

from sfweb.api.root import CAPABILITIES
from sfweb.domain import consoles, graphics
from sfweb.errors import Conflict, Unauthenticated
from sfweb.models import Blob, BlobLocation, ConsoleTicket, Event, Instance, NodeObject, Screenshot
from sfweb.models.fields import FromNow
from tests.api.fake_bytes import PICTURE, FakeBytes
from tests.api.world import Person, World

SCREENS = ("vdiconsolehelper", "vdiconsoleproxy", "screenshot")
FILE = b"""[virt-viewer]
type=spice
host=198.18.0.11
port=30002
password=pass-wrd
title=one (owner)
delete-this-file=1
"""


def at(world: World, rest: str) -> str:
    return f"/instances/{world.instance.uuid}/{rest}"


def test_se_15_a_viewers_file_has_a_password_of_five_minutes(owner: Person, world: World, node_bytes: FakeBytes):
    answer = owner.get(at(world, "vdiconsolehelper"))
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-virt-viewer")
    assert answer.content == FILE
    assert answer["Cache-Control"] == "no-store"
    assert node_bytes.claims[-1]["seconds"] == 300
    assert Event.objects.filter(message="screen opened").count() == 1
    assert not Event.objects.filter(extra__icontains="pass-wrd").exists()


def test_se_15_an_address_gives_the_file_once_without_a_token(owner: Person, world: World):
    told = owner.get(at(world, "vdiconsoleproxy")).json()
    assert 55 < told["expires_at"] - time.time() <= 60
    path = told["url"].removeprefix("http://testserver")
    first = Client().get(path)
    assert (first.status_code, first.content) == (200, FILE)
    second = Client().get(path)
    assert second.status_code == 401
    assert b"password" not in second.content


def test_se_15_an_address_that_is_too_old_gives_nothing(owner: Person, world: World):
    path = owner.get(at(world, "vdiconsoleproxy")).json()["url"].removeprefix("http://testserver")
    ConsoleTicket.objects.update(expires_at=FromNow(-1))
    assert Client().get(path).status_code == 401


def test_se_15_a_ticket_is_for_one_purpose(world: World):
    caller = graphics_caller(world)
    with pytest.raises(Unauthenticated):
        consoles.redeem(consoles.issue(caller, world.instance, "screen"))
    with pytest.raises(Unauthenticated):
        consoles.redeem(consoles.issue(caller, world.instance), "screen")


def graphics_caller(world: World) -> Any:
    from sfweb.domain.callers import Caller

    return Caller(namespace="owner", namespace_uuid=world.owner.uuid, key_name="k")


@pytest.mark.parametrize("verb", SCREENS)
@pytest.mark.parametrize(("columns", "status"), [({"state": "creating"}, 406), ({"power": "off"}, 409)])
def test_there_is_no_screen_of_what_does_not_run(
    owner: Person, world: World, verb: str, columns: dict[str, str], status: int
):
    Instance.objects.filter(pk=world.instance.pk).update(**columns)
    before = Blob.objects.count()
    assert owner.get(at(world, verb)).status_code == status
    assert Blob.objects.count() == before


def test_a_cluster_may_keep_viewers_away_from_its_nodes(owner: Person, world: World, settings: Any):
    told = owner.get(at(world, "vdiconsoleproxy")).json()
    settings.VDI_DIRECT = False
    for path in (
        at(world, "vdiconsolehelper"),
        at(world, "vdiconsoleproxy"),
        told["url"].removeprefix("http://testserver"),
    ):
        answer = owner.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "vdi.off")
    page = Client().get("/").content.decode()
    assert not [token for token in CAPABILITIES["screens"] if token in page]
    assert owner.get(at(world, "screenshot")).status_code == 200


def test_se_11_a_picture_is_a_blob_that_its_owner_reads_and_others_do_not(
    owner: Person, other: Person, world: World, node_bytes: FakeBytes
):
    blob = owner.get(at(world, "screenshot")).json()
    assert node_bytes.claims[-1]["blob"] == blob
    assert owner.get(f"/blobs/{blob}").json()["state"] == "created"
    assert owner.get(f"/blobs/{blob}/data").getvalue() == PICTURE
    assert other.get(f"/blobs/{blob}/data").status_code == 404
    assert BlobLocation.objects.get(blob_id=blob).node_id == world.node.pk
    assert NodeObject.objects.get(object_uuid=blob).wanted == "present"


def test_a_picture_that_failed_is_wanted_nowhere(owner: Person, world: World, node_bytes: FakeBytes):
    node_bytes.refuse = 409
    assert owner.get(at(world, "screenshot")).status_code == 409
    blob = Screenshot.objects.get().blob
    assert (blob.state, NodeObject.objects.get(object_uuid=blob.pk).wanted) == ("initial", "absent")


def test_a_picture_that_was_cleared_away_meanwhile_is_not_promised(world: World):
    blob = graphics.begin_picture(world.instance, world.node)
    NodeObject.objects.filter(object_uuid=blob.pk).update(applied_wanted="absent")
    with pytest.raises(Conflict):
        graphics.keep_picture(blob, world.node, {"size": 1, "sha512": "", "format": "other", "virtual_size": 0})
    assert Blob.objects.get(pk=blob.pk).state == "initial"


def test_an_instance_keeps_its_newest_pictures(owner: Person, world: World):
    made = [owner.get(at(world, "screenshot")).json() for _ in range(12)]
    kept = {str(pk) for pk in Screenshot.objects.values_list("pk", flat=True)}
    assert kept == set(made[-10:])
    assert set(Blob.objects.filter(pk__in=made[:2]).values_list("state", flat=True)) == {"deleted"}
