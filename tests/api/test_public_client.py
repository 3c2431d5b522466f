"""The unmodified public client, as a library and as a command, against a served API."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shakenfist_client import apiclient

from sfweb.domain.cluster_resources import tell_of
from sfweb.models import Key, Network, Node, Operation
from sfweb.models.state import State
from tests.api.fake_bytes import PICTURE, FakeBytes
from tests.api.world import SECRET, World, token_of

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]
COMMAND = Path(sys.executable).parent / "sf-client"


@pytest.fixture
def served(live_server: Any, transactional_db: None, node_bytes: FakeBytes) -> World:
    made = World(node_bytes.port)
    node_bytes.blobs[str(made.blob.uuid)] = bytes(range(100))
    return made


@pytest.fixture
def client(live_server: Any, served: World) -> Iterator[apiclient.Client]:
    made = apiclient.Client(
        base_url=live_server.url,
        namespace="owner",
        key=SECRET,
        suppress_configuration_lookup=True,
        async_strategy=apiclient.ASYNC_CONTINUE,
    )
    yield made
    made.session.close()


def test_the_library_finds_what_it_reads(client: apiclient.Client, served: World, node_bytes: FakeBytes):
    namespaces = client.get_namespaces()
    assert [row["name"] for row in namespaces] == ["owner"]
    assert client.add_namespace_key("owner", "second", "s") == "second"
    assert client.update_namespace_key("owner", "second", "t") == "second"
    client.delete_namespace_key("owner", "second")
    assert client.add_namespace_trust("owner", "other")["trust"]["full"]
    client.remove_namespace_trust("owner", "other")

    network = client.allocate_network("10.2.0.0/24", True, True, "private", provide_dns=True)
    assert network["provide_dns"] is True
    Network.objects.update(state=State.CREATED)
    card = {"network_uuid": "private", "macaddress": None, "model": "virtio"}
    instance = client.create_instance("two", 1, 128, [card], [{"size": "2"}], None, None)
    assert instance["node"] == "n1"
    assert len(client.get_instances()) == 2
    assert client.get_instance("two", namespace="owner")["uuid"] == instance["uuid"]
    interfaces = client.get_instance_interfaces(instance["uuid"])
    assert client.get_interface(interfaces[0]["uuid"])["ipv4"].startswith("10.2.0.")
    assert client.get_network_interfaces("private")[0]["instance_uuid"] == instance["uuid"]
    assert {row["type"] for row in client.get_network_addresses("private")} >= {"network", "gateway", "instance"}
    client.set_instance_metadata_item("two", "tags", ["a"])
    assert client.get_instance_metadata("two") == {"tags": ["a"]}
    client.delete_instance_metadata_item("two", "tags")
    assert client.get_instance_events("two", event_type="audit", limit="5") is not None
    assert client.list_cluster_operations_for_target("instance", instance["uuid"])

    with pytest.raises(apiclient.ResourceStateConflictException):
        client.power_off_instance("one")
        client.pause_instance("one")
    assert client.delete_instance("two")["uuid"] == instance["uuid"]
    empty = client.allocate_network("10.3.0.0/24", False, False, "empty")
    handle = client.delete_network(empty["uuid"], wait=False)
    assert client.get_cluster_operation(handle["op_type"], handle["op_uuid"])["uuid"] == handle["op_uuid"]
    assert client.get_cluster_operation_chain(handle["op_uuid"])


def test_the_library_moves_bytes(client: apiclient.Client, served: World, node_bytes: FakeBytes):
    upload = client.create_upload()
    client.send_upload_file(upload["uuid"], io.BytesIO(b"x" * 20000))
    assert len(node_bytes.uploads[upload["uuid"]]) == 20000
    client.truncate_upload(upload["uuid"], 5)
    artifact = client.upload_artifact("mine", upload["uuid"])
    assert client.get_artifact(artifact["uuid"])["max_versions"] == 3
    assert sorted(row["artifact_type"] for row in client.get_artifacts()) == ["image", "image", "snapshot"]
    client.set_artifact_max_versions(artifact["uuid"], 5)
    assert client.get_artifact_versions("image")[0]["uuid"] == str(served.blob.uuid)
    assert b"".join(client.get_blob_data(str(served.blob.uuid))) == bytes(range(100))
    assert client.get_blob_by_sha512("cd" * 64) is None
    assert client.get_blob_by_sha512(served.blob.sha512)["uuid"] == str(served.blob.uuid)
    assert client.get_blob_hash(str(served.blob.uuid), "sha512") == served.blob.sha512
    assert client.get_blob_hash(str(served.blob.uuid), "xxh128") == "ab" * 16
    assert client.update_label("stable", str(served.blob.uuid))["artifact_type"] == "label"
    label = client.update_label("owner/stable", str(served.blob.uuid))
    assert label["source_url"] == "sf://label/owner/stable"
    assert client.delete_artifact_version(label["uuid"], 1)["state"] == "deleted"
    node_bytes.consoles[str(served.instance.uuid)] = b"login: "
    assert client.get_console_data("one", 3) == "n: "
    client.delete_console_data("one")


def test_a_token_that_was_changed_is_fetched_again(client: apiclient.Client, served: World):
    client.get_instances()
    stale = client.cached_auth
    client.cached_auth = f"Bearer {token_of(served.owner)}x"
    client.get_instances()
    assert client.cached_auth not in (None, f"Bearer {token_of(served.owner)}x")
    assert stale


def run(server: str, namespace: str, *words: str) -> tuple[int, str]:
    environment = {
        **os.environ,
        "SHAKENFIST_API_URL": server,
        "SHAKENFIST_NAMESPACE": namespace,
        "SHAKENFIST_KEY": SECRET,
        "SHAKENFIST_ASYNC": "continue",
    }
    done = subprocess.run([COMMAND, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("namespace", "words", "expected"),
    [
        ("owner", "instance list", "one"),
        ("owner", "--simple instance show one", "one"),
        ("owner", "--json network list", "net"),
        ("owner", "artifact list", "image"),
        ("owner", "--simple network addresses net", "10.0.0.0,network"),
        ("owner", "blob show BLOB", "sha512"),
        ("system", "node show n1", "hypervisor"),
        ("system", "namespace show owner", "Key Names"),
    ],
)
def test_the_command_prints(live_server: Any, served: World, namespace: str, words: str, expected: str):
    code, output = run(live_server.url, namespace, *words.replace("BLOB", str(served.blob.uuid)).split())
    assert code == 0, output
    assert expected in output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("instance show none-such", "Resource not found: instance not found: none-such"),
        ("network create bad 10.0.0.1/24", "Malformed Request: netblock: 10.0.0.1/24 has host bits set"),
        ("node list", "this is for keys of the system namespace"),
    ],
)
def test_the_command_tells_a_refusal(live_server: Any, served: World, words: str, expected: str):
    code, output = run(live_server.url, "owner", *words.split())
    assert code == 1
    assert expected in output.replace("\x1b[31m", "").replace("\x1b[0m", "")


def test_the_library_plugs_a_card_in_and_sees_the_screen(client: apiclient.Client, served: World):
    card = client.add_instance_interface(
        "one", {"network_uuid": "net", "address": None, "macaddress": None, "float": False}
    )
    assert card["ipv4"].startswith("10.0.0.") and card["macaddr"]
    assert len(client.get_instance_interfaces("one")) == 2
    assert "password=pass-wrd" in client.get_vdi_console_helper("one")
    assert client.get_vdi_console_proxy_file("one") == client.get_vdi_console_helper("one")
    assert b"".join(client.get_screenshot("one")) == PICTURE


@pytest.fixture
def admin(live_server: Any, served: World) -> Iterator[apiclient.Client]:
    made = apiclient.Client(
        base_url=live_server.url,
        namespace="system",
        key=SECRET,
        suppress_configuration_lookup=True,
        async_strategy=apiclient.ASYNC_CONTINUE,
    )
    yield made
    made.session.close()


def test_the_library_reads_what_concerns_the_cluster(
    admin: apiclient.Client, served: World, settings: Any, tmp_path: Path
):
    Node.objects.update(facts={"cpu_fractions": {"work": 0.5}, "release": "0.1.0"})
    Operation.objects.update(state="running", running_key=served.operation.object_key)
    tell_of(300)
    assert admin.get_node_process_metrics("n1") == {"process_cpu_fraction_work": 0.5}
    assert set(admin.get_existing_locks()) == {served.operation.object_key}
    assert admin.get_cluster_resources()["total"]["cpu_available"] == 64
    (event,) = admin.get_node_events("n1", event_type="resources", limit=1)
    assert (event["fqdn"], event["extra"]["disk_available"]) == ("n1", 995)
    assert admin.get_node("n1")["release"] == "0.1.0"
    with pytest.raises(apiclient.ResourceNotFoundException):
        admin.get_cluster_cacert()
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    settings.CACERT_FILE = str(tmp_path / "ca.pem")
    assert admin.get_cluster_cacert().startswith("-----BEGIN CERTIFICATE-----")


def test_the_library_works_with_a_scoped_key_within_its_scopes(live_server: Any, served: World):
    Key.objects.filter(namespace=served.owner).update(scopes=["instance.read"])
    scoped = apiclient.Client(
        base_url=live_server.url,
        namespace="owner",
        key=SECRET,
        suppress_configuration_lookup=True,
        async_strategy=apiclient.ASYNC_CONTINUE,
    )
    assert [row["name"] for row in scoped.get_instances()] == ["one"]
    with pytest.raises(apiclient.UnauthorizedException, match="lacks the scope"):
        scoped.get_networks()
    scoped.session.close()


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("admin lock list", 0, "instance_create"),
        ("--json node resources n1", 0, "process_cpu_fraction_work"),
        ("node cpuhogs", 1, "work on node n1 has consumed 0.50 of a CPU"),
        ("node cpuhogs --threshold 0.75", 0, ""),
        ("--json namespace show owner", 0, '"keys"'),
        ("namespace list", 0, "owner"),
    ],
)
def test_the_command_prints_what_concerns_the_cluster(
    live_server: Any, served: World, words: str, code: int, expected: str
):
    Node.objects.update(facts={"cpu_fractions": {"work": 0.5}})
    Operation.objects.update(state="running", running_key=served.operation.object_key)
    tell_of(300)
    found, output = run(live_server.url, "system", *words.split())
    assert found == code, output
    assert expected in output
