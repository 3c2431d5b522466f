"""The API's side of the byte door against the node's real byte server: both speak the same words."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.byte_server import ByteServer
from nodeagent.config import Config, Identity
from nodeagent.drivers.layout import Layout
from sfweb.errors import Conflict, NotFound
from sfweb.models import Node
from sfweb.node_bytes import NodeUnreachable, append_upload, clear_console, open_blob, read_console, truncate_upload
from tests.api.fake_bytes import KEY
from tests.api.world import make_node

pytestmark = pytest.mark.django_db


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def node(tmp_path: Path, db: None) -> Iterator[Node]:
    config = Config(name="n1", mesh_address="127.0.0.1", byte_port=0, state_dir=str(tmp_path))
    identity = Identity(node=str(uuid.uuid4()), name="n1", secret="s", signing_key=KEY, broker_url="", control=())
    with ByteServer(config, identity) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield make_node("n1", server.server_port)
        server.shutdown()
        thread.join()


def test_a_blob_in_windows(node: Node, layout: Layout):
    blob, content = uuid.uuid4(), bytes(range(256)) * 4000
    layout.blob(str(blob)).write_bytes(content)
    layout.blob_facts(str(blob)).write_text("{}")
    assert b"".join(open_blob(node, blob, 0, len(content))) == content
    assert b"".join(open_blob(node, blob, 1000, 10)) == content[1000:1010]
    with pytest.raises(NotFound):
        open_blob(node, uuid.uuid4(), 0, 1)


def test_an_upload_grows_and_shrinks(node: Node, layout: Layout):
    upload = uuid.uuid4()
    append_upload(node, upload, 0, b"hello ")
    append_upload(node, upload, 6, b"world")
    truncate_upload(node, upload, 6)
    append_upload(node, upload, 6, b"there")
    assert layout.upload(str(upload)).read_bytes() == b"hello there"
    with pytest.raises(Conflict):
        append_upload(node, upload, 100, b"gap")


def test_a_console_is_read_and_cleared(node: Node, layout: Layout):
    instance = uuid.uuid4()
    with pytest.raises(NotFound):
        read_console(node, instance, 10)
    layout.instance(str(instance)).mkdir(parents=True)
    assert read_console(node, instance, 10) == b""
    layout.console_log(str(instance)).write_bytes(b"x" * 100 + b"login: ")
    assert read_console(node, instance, 3) == b"n: "
    assert len(read_console(node, instance, -1)) == 107
    clear_console(node, instance)
    assert read_console(node, instance, -1) == b""


def test_se_5_a_ticket_of_another_key_opens_nothing(node: Node):
    node.credential.signing_key = "another"
    with pytest.raises(NodeUnreachable):
        open_blob(node, uuid.uuid4(), 0, 1)
