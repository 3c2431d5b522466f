"""screenshots: pictures go after a while, those that never came too, and what is made of one keeps its bytes."""

from sftasks.reconcilers import node_objects, screenshots
from sfweb.domain import graphics
from sfweb.models import Blob, NodeObject, Screenshot
from sfweb.models.fields import FromNow
from tests.node_specs import RecordingCall, blob_spec

FACTS = {"size": 4, "sha512": "ab" * 64, "format": "other", "virtual_size": 0}


def picture(guest, *, kept=True):
    """One of the guest's screen, on its node."""
    blob = guest.run(graphics.begin_picture, guest.instance, guest.home.row)
    spec = blob_spec(blob=str(blob.pk))
    guest.home.host.fetch_blob(spec, spec.source, RecordingCall())
    if kept:
        guest.run(graphics.keep_picture, blob, guest.home.row, FACTS)
    return blob


def held(guest):
    return set(guest.home.host.inventory().blobs)


def test_a_young_one_stays(guest):
    blob = picture(guest)
    assert guest.run(screenshots.run) == {"screenshots": 0}
    assert str(blob.pk) in held(guest)
    assert guest.findings() == []


def test_an_old_one_goes_with_its_bytes(guest):
    blob = picture(guest)
    Screenshot.objects.update(created_at=FromNow(-4000))
    assert guest.run(screenshots.run) == {"screenshots": 1}
    guest.settle()
    assert Blob.objects.get(pk=blob.pk).state == "deleted"
    assert str(blob.pk) not in held(guest)
    assert not Screenshot.objects.exists()
    assert guest.findings() == []


def test_one_whose_process_died_half_way_is_cleared_away(guest):
    blob = picture(guest, kept=False)
    guest.run(node_objects.run)
    guest.settle()
    assert str(blob.pk) not in held(guest)
    Screenshot.objects.update(created_at=FromNow(-4000))
    assert guest.run(screenshots.run) == {"screenshots": 1}
    guest.settle()
    assert Blob.objects.get(pk=blob.pk).state == "deleted"
    assert NodeObject.objects.get(object_uuid=blob.pk).applied_wanted == "absent"
    assert guest.findings() == []
