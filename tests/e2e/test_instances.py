"""One running guest that is changed from outside: cards, disks, size, its screen. The tests run in order and share it."""

import socket
import struct
import time
from configparser import ConfigParser
from typing import Any

import pytest
import requests

from lab.first_boot import client, environment, ping
from lab.forward import new_socket
from tests.e2e.cloud import Cloud

pytestmark = pytest.mark.e2e
NAME, HOME, FURTHER = "changing", "n2", "further"
SECTORS_OF_A_GIB = 2**30 // 512


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Any:
    """Asks the API and answers what it says; (method, path, body)."""
    key = environment(cloud.lab)
    login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"]}

    def ask(method: str, path: str, body: Any = None) -> requests.Response:
        token = requests.post(f"{cloud.lab.api_url}/auth", json=login, timeout=10).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(method, f"{cloud.lab.api_url}{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code in (200, 202), answer.text
        return answer

    return ask


def inside(cloud: Cloud, command: str, seconds: float = 60.0) -> None:
    """Wait until a command in the guest succeeds."""
    cloud.until(lambda: cloud.ask(NAME, command), lambda answer: answer[0] == 0, seconds)


def done(cloud: Cloud, api: Any, answer: requests.Response) -> None:
    """Wait until the operation of the answer has succeeded."""
    path = answer.headers["Link"].partition(">")[0].partition("/operations/")[2]
    found = cloud.until(
        lambda: api("GET", f"/operations/{path}").json(),
        lambda row: row["state"] not in ("waiting", "running", "unwinding"),
    )
    assert found["state"] == "succeeded", found


def test_a_guest_boots(cloud: Cloud) -> None:
    network = cloud.sf("network", "create", "narrow", "10.41.0.0/24")["uuid"]
    cloud.sf("network", "create", FURTHER, "10.42.0.0/24")
    cloud.create(NAME, HOME, network)
    assert cloud.settled(NAME)["state"] == "created"
    cloud.has_booted(NAME)


def test_ni_4_a_card_is_plugged_into_the_running_guest_and_answers_from_outside(cloud: Cloud) -> None:
    begin = time.monotonic()
    card = client(cloud.lab).add_instance_interface(NAME, {"network_uuid": FURTHER})
    cloud.until(
        lambda: str(cloud.sf("instance", "consoledata", NAME, "200000")),
        lambda text: f"GUEST-LEASE if=eth1 ip={card['ipv4']}" in text,
    )
    network = next(row for row in client(cloud.lab).get_networks() if row["name"] == FURTHER)
    cloud.until(lambda: ping(cloud.lab, network, card["ipv4"]), bool, 30)
    print(f"answers after {time.monotonic() - begin:.1f} s")
    states = {row["macaddr"]: row["state"] for row in client(cloud.lab).get_instance_interfaces(NAME)}
    assert states[card["macaddr"]] == "created" and len(states) == 2


def test_a_disk_is_attached_and_grows_under_the_running_guest(cloud: Cloud, api: Any) -> None:
    answer = api("POST", f"/instances/{NAME}/disks", {"size": 1})
    assert (answer.status_code, answer.json()["device"]) == (202, "vdc")
    inside(cloud, f"test $(cat /sys/block/vdc/size) = {SECTORS_OF_A_GIB}")
    assert cloud.ask(NAME, "echo kept > /dev/vdc && sync")[0] == 0
    done(cloud, api, api("PATCH", f"/instances/{NAME}", {"disk": [{"device": "vdc", "size": 2}]}))
    inside(cloud, f"test $(cat /sys/block/vdc/size) = {2 * SECTORS_OF_A_GIB}")
    assert cloud.ask(NAME, "head -c 4 /dev/vdc") == (0, "kept")


def test_se_15_a_viewer_gets_an_address_that_answers_and_a_password(cloud: Cloud, api: Any) -> None:
    answer = api("GET", f"/instances/{NAME}/vdiconsolehelper")
    assert answer.headers["Content-Type"] == "application/x-virt-viewer"
    viewer = ConfigParser(interpolation=None)
    viewer.read_string(answer.text)
    screen = viewer["virt-viewer"]
    assert (screen["type"], len(screen["password"])) == ("spice", 8)
    way = new_socket(f"/proc/{cloud.tree(HOME).pid}/ns/net")
    with way:
        way.settimeout(10)
        way.connect((screen["host"], int(screen["port"])))
        way.sendall(b"REDQ" + struct.pack("<III", 2, 2, 18) + struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18))
        assert way.recv(4, socket.MSG_WAITALL) == b"REDQ"
    url = api("GET", f"/instances/{NAME}/vdiconsoleproxy").json()["url"]
    assert "password=" in requests.get(url, timeout=10).text
    assert requests.get(url, timeout=10).status_code == 401


def test_a_picture_of_its_screen(cloud: Cloud, api: Any) -> None:
    blob = api("GET", f"/instances/{NAME}/screenshot").json()
    picture = api("GET", f"/blobs/{blob}/data").content
    assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", picture[16:24])
    assert width >= 320 and height >= 200


def test_the_console_log_is_cut(cloud: Cloud, api: Any) -> None:
    cloud.sf("instance", "consoledelete", NAME)
    assert "GUEST-READY" not in api("GET", f"/instances/{NAME}/consoledata").text
    with cloud.console(NAME) as console:
        console.run("echo after the cut")
    cloud.until(lambda: api("GET", f"/instances/{NAME}/consoledata").text, lambda text: "after the cut" in text, 20)


def test_ni_6_card_and_disk_are_taken_from_the_running_guest(cloud: Cloud, api: Any) -> None:
    second = client(cloud.lab).get_instance_interfaces(NAME)[1]
    done(cloud, api, api("DELETE", f"/interfaces/{second['uuid']}"))
    inside(cloud, f"! grep -q {second['macaddr']} /sys/class/net/*/address")
    done(cloud, api, api("DELETE", f"/instances/{NAME}/disks/vdc"))
    inside(cloud, "! test -e /sys/block/vdc")
    assert [row["order"] for row in client(cloud.lab).get_instance_interfaces(NAME)] == [0]
    taken = {row["address"]: row["type"] for row in api("GET", f"/networks/{FURTHER}/addresses").json()}
    assert taken[second["ipv4"]] == "deletion-halo"
    assert "agree" in cloud.manage("audit_nodes")


def test_pw_1_a_guest_that_shuts_itself_down_stays_off_and_may_be_made_larger(cloud: Cloud, api: Any) -> None:
    with cloud.console(NAME) as console:
        before = int(console.run("awk '/MemTotal/ {print $2}' /proc/meminfo")[1])
        console.send("poweroff -f\n")
        cloud.with_power(NAME, "off")
    done(cloud, api, api("PATCH", f"/instances/{NAME}", {"memory": 192, "cpus": 2}))
    assert cloud.show(NAME)["power_state"] == "off"
    cloud.sf("instance", "poweron", NAME)
    cloud.has_booted(NAME)
    assert int(cloud.ask(NAME, "awk '/MemTotal/ {print $2}' /proc/meminfo")[1]) > before + 40000
    assert cloud.ask(NAME, "grep -c ^processor /proc/cpuinfo") == (0, "2\n")


def test_deleting_leaves_nothing_behind(cloud: Cloud) -> None:
    cloud.sf("instance", "delete", NAME)
    for network in ("narrow", FURTHER):
        cloud.sf("network", "delete", network)
    cloud.until(
        lambda: cloud.sf("network", "list"), lambda rows: not {row["name"] for row in rows} & {"narrow", FURTHER}
    )
    assert "agree" in cloud.manage("audit_nodes")
