"""What the public client asks for where it means something else."""

from sfweb.models import ArtifactVersion, Key, Metadata
from tests.api.world import Person, World, make_blob, make_node


def stored(object_type: str) -> dict[str, object]:
    rows = Metadata.objects.filter(object_type=object_type, key="colour")
    return {str(owner): value for owner, value in rows.values_list("object_uuid", "value")}


def test_metadata_asked_of_an_instance_that_is_an_artifact_or_a_blob_is_theirs(owner: Person, world: World):
    """`sf-client artifact set-metadata` and `sf-client blob set-metadata` put to /instances."""
    for ref, object_type, row in (
        (str(world.artifact.uuid), "artifact", world.artifact),
        ("image", "artifact", world.artifact),
        (str(world.blob.uuid), "blob", world.blob),
    ):
        answer = owner.put(f"/instances/{ref}/metadata/colour", {"value": "red"})
        assert (answer.status_code, answer.content) == (200, b"null")
        assert stored(object_type) == {str(row.uuid): "red"}
        assert owner.delete(f"/instances/{ref}/metadata/colour").status_code == 200
        assert stored(object_type) == {}
    assert stored("instance") == {}


def test_an_instance_of_that_name_is_what_is_meant(owner: Person, world: World):
    type(world.artifact).objects.filter(pk=world.artifact.pk).update(name="one")
    assert owner.put("/instances/one/metadata/colour", {"value": "red"}).status_code == 200
    assert (stored("artifact"), stored("instance")) == ({}, {str(world.instance.uuid): "red"})


def test_nobody_writes_that_way_what_is_not_his(other: Person, world: World):
    for ref in (str(world.artifact.uuid), str(world.blob.uuid), "image", "none-such"):
        answer = other.put(f"/instances/{ref}/metadata/colour", {"value": "red"})
        assert (answer.status_code, answer.json()["error"]) == (404, f"instance not found: {ref}")
    assert stored("artifact") == stored("blob") == {}


def test_au_12_a_key_for_instances_alone_does_not_write_artifacts_that_way(owner: Person, world: World):
    Key.objects.filter(namespace=world.owner).update(scopes=["instance.*"])
    assert owner.put(f"/instances/{world.artifact.uuid}/metadata/colour", {"value": "red"}).status_code == 404
    assert owner.put(f"/instances/{world.instance.uuid}/metadata/colour", {"value": "red"}).status_code == 200
    assert stored("artifact") == {}


def test_reading_that_way_is_refused(owner: Person, world: World):
    assert owner.get(f"/instances/{world.artifact.uuid}/metadata").status_code == 404


def test_the_list_of_blobs_names_the_versions_made_of_them(system: Person, world: World):
    version = ArtifactVersion.objects.get(artifact=world.artifact)
    found = {row["uuid"]: row["blobs"] for row in system.get("/blobs").json()}
    blob = str(world.blob.uuid)
    assert found[blob][f"{world.artifact.uuid}/{version.index}"] == {"uuid": blob}


def test_a_blob_that_nothing_is_made_of_needs_one_copy(system: Person, world: World):
    """A file from a guest lies where it came; it is not copied, and so none is missing."""
    make_node("n2")
    lonely = make_blob(world.node, sha512="cd" * 64)
    views = {row["uuid"]: row["copies"] for row in system.get("/blobs").json()}
    assert views[str(world.blob.uuid)] == {"wanted": 2, "here": 1, "failed": []}
    assert views[str(lonely.uuid)] == {"wanted": 1, "here": 1, "failed": []}
