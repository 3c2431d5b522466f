"""expired_keys: what expired a while ago ends; nothing that lives does (AU-6, AU-7)."""

import pytest

from sftasks.reconcilers import expired_keys, hard_deletes
from sfweb.domain import keys
from sfweb.domain.callers import CLUSTER
from sfweb.models import Event, Key, Namespace
from sfweb.models.fields import FromNow
from sfweb.models.state import State


@pytest.fixture
def namespace(caller, settings):
    settings.KEY_HASH_ROUNDS = 4
    return Namespace.objects.get(name="tenant")


def make(namespace, name, expired=None):
    key = keys.put_key(CLUSTER, namespace, name, "s")
    if expired is not None:
        Key.objects.filter(pk=key.pk).update(expires_at=FromNow(-expired))
    return key


def test_au_6_a_key_that_expired_long_ago_ends_and_later_its_row_goes(namespace):
    old = make(namespace, "old", 3700)
    assert expired_keys.run() == {"ended": 1}
    assert Key.objects.get(pk=old.pk).state == State.DELETED
    assert "key old had expired" in Event.objects.order_by("-at").first().message
    assert expired_keys.run() == {"ended": 0}
    assert hard_deletes.run()["keys"] == 0
    Key.objects.filter(pk=old.pk).update(deleted_at=FromNow(-3700))
    assert hard_deletes.run()["keys"] == 1
    assert not Key.objects.filter(pk=old.pk).exists()


def test_au_6_within_the_grace_and_with_a_grace_of_0_it_stays(namespace, settings):
    make(namespace, "late", 3500)
    assert expired_keys.run() == {"ended": 0}
    settings.NAMESPACE_KEY_REAP_GRACE = 0
    make(namespace, "old", 10**6)
    assert expired_keys.run() == {"ended": 0}


def test_au_7_no_lasting_key_is_ever_looked_at(namespace):
    make(namespace, "lasting")
    make(namespace, "still-good", -60)
    assert expired_keys.run() == {"ended": 0}
    assert Key.objects.filter(state=State.CREATED).count() == 2


def test_au_7_a_key_that_was_rotated_after_it_was_chosen_lives(namespace):
    old = make(namespace, "old", 3700)
    keys.put_key(CLUSTER, namespace, "old", "again")
    assert keys.reap(old.pk, 3600.0) is False
    assert keys.prove_secret("tenant", "again").uuid == old.pk


def test_au_7_a_name_that_was_reaped_begins_anew(namespace):
    old = make(namespace, "old", 3700)
    expired_keys.run()
    new = keys.put_key(CLUSTER, namespace, "old", "again")
    assert new.pk != old.pk
    assert keys.prove_secret("tenant", "again").uuid == new.pk
