"""Artifacts, labels and grants as their users see them: who sees what and why, what a name means, what a request leaves."""

from typing import Any

import pytest

from sfweb.domain import artifact_refs, catalogue
from sfweb.domain.callers import Caller
from sfweb.models import Artifact, ArtifactGrant, ArtifactVersion, BlobHash, Instance, Operation, Trust
from sfweb.models.state import State
from tests.api.world import OTHER_HASHES, SHA512, Person, World, make_artifact, make_blob

INSTANCE = {"name": "new", "cpus": 1, "memory": 64}


def make_label(world: World, owner: str, name: str, *, shared: bool = False) -> Artifact:
    namespace = getattr(world, owner)
    row = make_artifact(namespace, name, make_blob(world.node), shared=shared)
    Artifact.objects.filter(pk=row.pk).update(kind="label", source_url=f"sf://label/{owner}/{name}")
    return row


def create(who: Person, base: str) -> Any:
    return who.post("/instances", INSTANCE | {"disk": [{"size": 1, "base": base}]})


def test_the_view_has_what_the_client_reads(owner: Person, world: World):
    view = owner.get("/artifacts/image").json()
    assert view["index"] == 1 and view["blob_uuid"] == str(world.blob.uuid)
    assert view["blobs"]["1"] == {
        "uuid": str(world.blob.uuid),
        "size": 100,
        "reference_count": 2,
        "depends_on": None,
        "instances": [str(world.instance.uuid)],
    }
    blob = owner.get(f"/blobs/{world.blob.uuid}").json()
    assert (blob["transcodes"], blob["locations"], blob["reference_count"]) == ({}, ["n1"], 2)
    assert blob["instances"] == [str(world.instance.uuid)]
    assert blob["checksums"] == {**OTHER_HASHES, "sha512": SHA512}
    assert blob["copies"] == {"wanted": 1, "here": 1, "failed": []}
    assert isinstance(blob["fetched_at"], float) and "last_used" in blob


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "xxh128"])
def test_bl_1_bl_2_a_blob_is_found_by_each_of_its_hashes(
    owner: Person, other: Person, world: World, algorithm: str, django_assert_max_num_queries: Any
):
    value = {**OTHER_HASHES, "sha512": SHA512}[algorithm]
    assert owner.get(f"/blobs/{world.blob.uuid}/checksum/{algorithm}").json() == value
    assert owner.get(f"/blob_checksums/{algorithm}/{value.upper()}").json()["uuid"] == str(world.blob.uuid)
    assert other.get(f"/blob_checksums/{algorithm}/{value}").content == b"null"
    nothing = "cd" * (len(value) // 2)
    with django_assert_max_num_queries(2):  # who asks, and the one that looks
        assert owner.get(f"/blob_checksums/{algorithm}/{nothing}").content == b"null"


def test_bl_3_copies_that_disagree_are_both_visible(owner: Person, world: World):
    BlobHash.objects.filter(algorithm="sha512").update(status="failed", error_message="unreadable: I/O error")
    view = owner.get(f"/blobs/{world.blob.uuid}").json()
    assert view["copies"]["failed"] == [{"node": "n1", "error": "unreadable: I/O error"}]
    assert "sha512" not in view["checksums"]


def test_ar_8_a_label_is_made_shown_listed_and_deleted(owner: Person, other: Person, world: World):
    made = owner.post("/label/stable", {"artifact": "image", "max_versions": 7})
    assert made.status_code == 200
    view = made.json()
    assert (view["artifact_type"], view["source_url"]) == ("label", "sf://label/owner/stable")
    assert view["max_versions"] == 7 and view["blob_uuid"] == str(world.blob.uuid)
    assert owner.get("/label/owner/stable").json()["uuid"] == view["uuid"]
    assert [row["uuid"] for row in owner.get("/labels").json()] == [view["uuid"]]
    assert [row["uuid"] for row in owner.get("/labels?namespace=owner").json()] == [view["uuid"]]
    assert owner.get("/labels?namespace=other").json() == []
    assert other.get("/labels").json() == []
    again = owner.post("/label/stable", {"blob_uuid": str(make_readable(world).uuid)})
    assert again.json()["uuid"] == view["uuid"] and list(again.json()["blobs"]) == ["1", "2"]
    assert owner.delete("/label/stable").status_code == 200


def make_readable(world: World) -> Any:
    blob = make_blob(world.node, sha512="ef" * 64)
    make_artifact(world.owner, "second", blob)
    return blob


def test_ar_8_a_label_is_made_of_a_version_and_the_same_again_is_no_news(owner: Person, world: World):
    second = make_blob(world.node, sha512="ef" * 64)
    ArtifactVersion.objects.create(artifact=world.artifact, index=2, blob=second)
    first = owner.post("/label/old", {"artifact": "image", "version": 1}).json()
    assert first["blob_uuid"] == str(world.blob.uuid)
    assert owner.post("/label/new", {"artifact": "image"}).json()["blob_uuid"] == str(second.uuid)
    assert list(owner.post("/label/new", {"artifact": "image"}).json()["blobs"]) == ["1"]


def test_ar_6_one_call_makes_a_label_or_an_artifact_of_a_url(owner: Person, world: World):
    label = owner.post("/label/fresh", {"url": "https://example.com/image"})
    image = owner.post("/artifacts/upload/fresh", {"url": "https://example.com/image"})
    assert (label.json()["state"], image.json()["state"]) == ("initial", "initial")
    assert {row.kind for row in Operation.objects.filter(kind__startswith="artifact_")} == {"artifact_publish"}


def test_ar_9_a_label_of_nothing_is_404_and_leaves_nothing(owner: Person, world: World):
    before = Artifact.objects.count(), Operation.objects.count()
    assert create(owner, "label:none-such").status_code == 404
    assert owner.post("/label/x", {"artifact": "none-such"}).status_code == 404
    assert (Artifact.objects.count(), Operation.objects.count()) == before


def test_ar_10_only_owner_and_system_write_a_label(world: World):
    row = make_label(world, "owner", "stable")
    blob = {"blob_uuid": str(world.blob.uuid)}
    trusted, other, system = (world.person(name) for name in ("trusted", "other", "system"))
    assert trusted.get("/label/owner/stable").status_code == 200
    for asked in (
        trusted.post("/label/owner/stable", blob),
        trusted.delete("/label/owner/stable"),
        trusted.delete(f"/artifacts/{row.pk}"),
        trusted.delete(f"/artifacts/{row.pk}/versions/1"),
        trusted.post(f"/artifacts/{row.pk}/versions", {"max_versions": 1}),
    ):
        assert asked.status_code == 404
    Artifact.objects.filter(pk=row.pk).update(shared=True)
    assert other.get("/label/owner/stable").status_code == 200
    assert other.post("/label/owner/stable", blob).status_code == 404
    assert system.post("/label/owner/stable", blob).status_code == 200


def test_ar_11_system_makes_a_shared_label_in_one_call(system: Person, other: Person, world: World):
    view = system.post("/label/debian", {"blob_uuid": str(world.blob.uuid), "shared": True}).json()
    assert view["shared"] is True
    assert other.get("/label/system/debian").json()["visible_because"] == "shared"


def test_ar_13_a_grant_shows_and_its_end_hides_at_once(owner: Person, other: Person, world: World):
    path = f"/artifacts/{world.artifact.uuid}"
    assert other.get(path).status_code == 404
    assert owner.post(f"{path}/grants", {"namespace": "other"}).json() == [{"namespace": "other", "permission": "read"}]
    assert owner.post(f"{path}/grants", {"namespace": "other"}).status_code == 200
    assert ArtifactGrant.objects.count() == 1
    assert [row["visible_because"] for row in other.get("/artifacts").json()] == ["granted"]
    assert other.get(f"/blobs/{world.blob.uuid}/data").getvalue() == bytes(range(100))
    assert other.delete(path).status_code == 404
    assert other.post(f"{path}/grants", {"namespace": "trusted"}).status_code == 404
    assert owner.get(f"{path}/grants").json() == [{"namespace": "other", "permission": "read"}]
    assert owner.delete(f"{path}/grants/other").json() == []
    assert other.get(path).status_code == 404
    assert other.get(f"/blobs/{world.blob.uuid}").status_code == 404


def test_ar_13_the_list_says_why(world: World):
    make_label(world, "system", "everybodys", shared=True)
    words = {
        name: {
            row["name"]: row["visible_because"]
            for row in world.person(name).get("/artifacts").json()
            if row["artifact_type"] != "snapshot"
        }
        for name in ("owner", "trusted", "other", "system")
    }
    assert words == {
        "owner": {"image": "own", "everybodys": "shared"},
        "trusted": {"image": "trust", "everybodys": "shared"},
        "other": {"everybodys": "shared"},
        "system": {"image": "trust", "everybodys": "own"},
    }


def test_ar_3_uuid_and_name_show_the_same(other: Person, world: World):
    shared = make_label(world, "system", "everybodys", shared=True)
    assert other.get(f"/artifacts/{shared.pk}").status_code == other.get("/artifacts/everybodys").status_code == 200
    assert other.get(f"/artifacts/{world.artifact.pk}").status_code == other.get("/artifacts/image").status_code == 404


def test_ar_2_a_name_of_several_lists_them(world: World, owner: Person):
    twin = make_artifact(world.owner, "image", make_blob(world.node))
    answer = owner.get("/artifacts/image")
    assert answer.status_code == 400 and answer.json()["code"] == "ambiguous"
    assert set(answer.json()["details"]["matches"]) == {str(world.artifact.pk), str(twin.pk)}


def test_ar_1_a_bare_name_means_one_thing_or_is_refused(
    owner: Person, world: World, tmp_path: Any, settings: Any, django_assert_num_queries: Any
):
    settings.IMAGE_CATALOGUE = str(tmp_path / "images.toml")
    label = make_label(world, "system", "centos:7", shared=True)
    made = create(owner, "centos:7")
    assert made.status_code == 200
    blob = ArtifactVersion.objects.get(artifact=label).blob_id
    assert str(blob) == made.json()["disk_spec"][0]["blob_uuid"]
    (tmp_path / "images.toml").write_text('["centos:7"]\nurl = "https://example.com/centos"\n')
    before = Instance.objects.count(), Artifact.objects.count(), Operation.objects.count()
    answer = create(owner, "centos:7")
    assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous_reference")
    assert answer.json()["details"]["matches"] == ["sf://label/system/centos:7", "image:centos:7"]
    assert (Instance.objects.count(), Artifact.objects.count(), Operation.objects.count()) == before
    assert create(owner, "system/centos:7").status_code == 200
    assert create(owner, "sf://label/system/centos:7").status_code == 200
    assert create(owner, "image:centos:7").status_code == 200
    assert Artifact.objects.get(source_url="https://example.com/centos").namespace == world.owner


def test_a_label_of_ones_own_and_a_shared_one_of_the_same_name_are_ambiguous(owner: Person, world: World):
    make_label(world, "system", "base", shared=True)
    mine = make_label(world, "owner", "base")
    assert create(owner, "base").status_code == 409
    assert create(owner, "label:base").status_code == 200
    Artifact.objects.filter(pk=mine.pk).update(state=State.DELETED)
    assert create(owner, "base").status_code == 200


def test_ar_1_a_stranger_who_trusts_or_grants_does_not_decide_what_a_name_means(owner: Person, world: World):
    strange = make_label(world, "other", "base")
    Trust.objects.create(namespace=world.other, trusted=world.owner)
    ArtifactGrant.objects.create(artifact=strange, namespace=world.owner)
    assert create(owner, "base").status_code == 404
    assert create(owner, "other/base").status_code == 200
    make_label(world, "system", "base", shared=True)
    assert create(owner, "base").status_code == 200


def test_ar_4_every_form_is_resolved(world: World):
    snapshot = make_artifact(world.owner, "snap", make_blob(world.node))
    source = f"sf://instance/{world.instance.uuid}/vda"
    Artifact.objects.filter(pk=snapshot.pk).update(kind="snapshot", source_url=source)
    make_label(world, "owner", "stable")
    upload = make_artifact(world.owner, "up", make_blob(world.node))
    Artifact.objects.filter(pk=upload.pk).update(source_url="sf://upload/owner/up")
    caller = Caller(namespace="owner", namespace_uuid=world.owner.pk)
    stranger = Caller(namespace="other", namespace_uuid=world.other.pk)
    forms = ["label:stable", "sf://label/owner/stable", "stable", "owner/stable", "sf://upload/owner/up", source]
    forms += [f"sf://snapshot/{snapshot.pk}", f"sf://artifact/{upload.pk}", f"sf://blob/{world.blob.pk}"]
    for form in forms:
        assert artifact_refs.resolve(caller, form, world.owner) is not None
        with pytest.raises(Exception, match=r"not found|no label"):
            artifact_refs.resolve(stranger, form, world.other)


def test_the_shipped_catalogue_is_one(owner: Person):
    names = [row["name"] for row in owner.get("/images").json()]
    assert "debian:12" in names
    assert all(image.checksums.startswith("https://") for image in catalogue.images().values())


def test_a_broken_catalogue_is_said(owner: Person, tmp_path: Any, settings: Any):
    settings.IMAGE_CATALOGUE = str(tmp_path / "images.toml")
    assert owner.get("/images").json() == []
    (tmp_path / "images.toml").write_text("[debian\n")
    assert owner.get("/images").status_code == 503


def test_an_artifact_may_be_called_upload(owner: Person, world: World):
    Artifact.objects.filter(pk=world.artifact.pk).update(name="upload")
    assert owner.post("/artifacts/upload/versions", {"blob_uuid": str(world.blob.uuid)}).json()["name"] == "versions"
    assert owner.get("/artifacts/upload").json()["uuid"] == str(world.artifact.uuid)
    assert owner.post(f"/artifacts/{world.artifact.uuid}/versions", {"max_versions": 5}).content == b"null"
    assert Artifact.objects.get(pk=world.artifact.pk).max_versions == 5


def test_a_chunk_sent_twice_changes_nothing(owner: Person, world: World, node_bytes: Any):
    path = f"/upload/{world.upload.uuid}"
    for offset, chunk, size in ((0, b"hello ", 6), (6, b"world", 11), (0, b"hello ", 11), (6, b"world", 11)):
        assert owner.post(f"{path}?offset={offset}", chunk).json() == size
    assert owner.get(path).json()["size"] == 11


def test_ar_16_the_list_is_in_pages(owner: Person, world: World):
    for number in range(5):
        make_artifact(world.owner, f"a{number}", world.blob)
    assert len(owner.get("/artifacts?limit=2&offset=1").json()) == 2
    assert len(owner.get("/labels?limit=2").json()) == 0
