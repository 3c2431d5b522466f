"""Emptying and deleting namespaces by the API."""

from sfweb.models import Instance, Namespace, Operation
from tests.api.world import Person, World


def test_ar_15_emptying_answers_with_its_operation(owner: Person, world: World):
    answer = owner.post("/auth/namespaces/owner/clean")
    assert answer.status_code == 202
    told = answer.json()
    assert answer["Location"].endswith(f"/operations/{told['uuid']}")
    assert (told["kind"], told["state"]) == ("namespace_clean", "waiting")
    assert owner.post("/auth/namespaces/owner/clean").json()["uuid"] == told["uuid"]
    why = owner.get(f"/operations/{told['uuid']}").json()["why"]["sentence"]
    assert why == "1 instances, 1 networks, 2 artifacts are still there"


def test_ar_15_system_must_say_that_it_means_it(system: Person):
    for body in (None, {}, {"confirm": False}):
        answer = system.post("/auth/namespaces/system/clean", body)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("confirm:")
    assert not Operation.objects.filter(kind="namespace_clean").exists()
    assert system.post("/auth/namespaces/system/clean", {"confirm": True}).status_code == 202
    assert system.post("/auth/namespaces/owner/clean").status_code == 202, "the address names it"


def test_the_first_deletes_are_asked_for_at_once(
    owner: Person, world: World, django_capture_on_commit_callbacks: object
):
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        owner.post("/auth/namespaces/owner/clean")
    assert Instance.objects.get(pk=world.instance.pk).state in ("delete-wait", "deleted")


def test_a_namespace_can_be_deleted_once_it_is_empty_and_system_never(system: Person):
    assert system.delete("/auth/namespaces/owner").json()["code"] == "namespace_in_use"
    assert system.delete("/auth/namespaces/system").status_code == 403
    assert system.delete("/auth/namespaces/nowhere").status_code == 404
    answer = system.delete("/auth/namespaces/other")
    assert (answer.status_code, answer.json()["state"]) == (200, "deleted")
    assert Namespace.objects.get(name="other").state == "deleted"
    assert system.delete("/auth/namespaces/other").status_code == 404


def test_nw_3_only_system_makes_networks_for_another_namespace(
    owner: Person, other: Person, system: Person, world: World
):
    wanted = {"name": "theirs", "netblock": "10.77.0.0/24", "namespace": "other"}
    assert owner.post("/networks", wanted).status_code == 401
    made = system.post("/networks", wanted).json()
    assert (made["namespace"], other.get(f"/networks/{made['uuid']}").status_code) == ("other", 200)
    for answer in (owner.get(f"/networks/{made['uuid']}"), owner.delete(f"/networks/{made['uuid']}")):
        assert answer.status_code == 404
