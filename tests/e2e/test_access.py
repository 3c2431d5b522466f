"""A namespace's life in a lab: a scoped key, a ceiling, a guest, emptied and gone; what nodes tell of themselves."""

import pytest
import requests

from lab.first_boot import environment
from lab.plane import Client
from tests.e2e.cloud import IMAGE, Cloud

pytestmark = pytest.mark.e2e
PROGRAMS = {"report", "work", "work-bulk", "serve", "nethelper"}


def come_in(cloud: Cloud, namespace: str, key: str) -> Client:
    return Client(f"http://127.0.0.1:{cloud.lab.api_port}", namespace, key)


@pytest.fixture
def tenant(cloud: Cloud) -> Client:
    cloud.sf("namespace", "create", "lodger")
    cloud.sf("namespace", "add-key", "lodger", "whole", "a whole secret")
    return come_in(cloud, "lodger", "a whole secret")


def test_ar_15_au_12_se_12_a_namespace_from_its_first_key_to_its_end(cloud: Cloud, tenant: Client) -> None:
    tenant.ok("POST", "/auth/namespaces/lodger/keys", {"key_name": "ci", "key": "narrow", "scopes": ["instance.read"]})
    reader = come_in(cloud, "lodger", "narrow")
    assert reader.ok("GET", "/instances") == []
    assert reader.call("POST", "/networks", {"name": "no", "netblock": "10.60.0.0/24"}).status_code == 403

    network = tenant.ok("POST", "/networks", {"name": "room", "netblock": "10.60.0.0/24"})
    cloud.until(lambda: tenant.ok("GET", f"/networks/{network['uuid']}")["state"], lambda state: state == "created")
    wanted = {"name": "guest", "cpus": 1, "memory": 128, "disk": [{"size": 1, "base": IMAGE}]}
    system = come_in(cloud, "system", cloud_key(cloud))
    system.ok("PUT", "/auth/namespaces/lodger/limits", {"instances": 1})
    made = system.ok("POST", "/instances", wanted | {"namespace": "lodger", "network": [{"network_uuid": "room"}]})
    refused = tenant.call("POST", "/instances", wanted | {"name": "second", "disk": [{"size": 1}]})
    assert (refused.status_code, refused.json()["details"]["used"]) == (507, 1)
    cloud.until(lambda: reader.ok("GET", f"/instances/{made['uuid']}")["state"], lambda state: state == "created")

    clean = tenant.ok("POST", "/auth/namespaces/lodger/clean")
    cloud.until(
        lambda: tenant.ok("GET", f"/operations/{clean['uuid']}"), lambda row: row["state"] not in ("waiting", "running")
    )
    assert tenant.ok("GET", f"/operations/{clean['uuid']}")["state"] == "succeeded"
    assert tenant.ok("GET", "/instances") == tenant.ok("GET", "/networks") == []
    cloud.sf("namespace", "delete", "lodger")
    assert reader.call("GET", "/instances").status_code == 401
    assert requests.get(f"http://127.0.0.1:{cloud.lab.api_port}/instances", timeout=10).status_code == 401
    assert "agree" in cloud.manage("audit_nodes")


def cloud_key(cloud: Cloud) -> str:
    return str(environment(cloud.lab)["SHAKENFIST_KEY"])


def test_nodes_tell_what_they_have_and_what_their_programs_take(cloud: Cloud) -> None:
    system = come_in(cloud, "system", cloud_key(cloud))
    taken = cloud.until(
        lambda: {name.removeprefix("process_cpu_fraction_") for name in system.ok("GET", "/nodes/n1/processmetrics")},
        lambda found: found >= PROGRAMS,
        90,
    )
    assert taken == PROGRAMS
    told = cloud.sf("node", "resources", "n1")
    assert told["cpu_max"] >= told["cpu_available"] > 0
    resources = system.ok("GET", "/admin/resources")
    assert set(resources["per_node"]) == {"n1", "n2"}
