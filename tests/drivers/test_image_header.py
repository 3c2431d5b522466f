"""SE-9: an image is judged by its own bytes before any program opens it."""

from pathlib import Path

import pytest

from nodeagent.drivers.blobs import judge
from nodeagent.drivers.image_header import CORRUPT, EXTERNAL_DATA, UnsafeImage, read_header
from nodeagent.host import Refused
from tests.drivers.images import VMDK_OF_FILES, qcow2, vhd, vmdk


def written(folder: Path, content: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("image.encrypted", qcow2(encryption=1)),
        ("image.encrypted", qcow2(encryption=2)),
        ("image.data_file", qcow2(features=EXTERNAL_DATA)),
        ("image.corrupt", qcow2(version=9)),
        ("image.corrupt", qcow2(features=CORRUPT)),
        ("image.backing_file", qcow2(backing=b"x", backing_at=2**40)),
        ("image.corrupt", qcow2()[:60]),
        ("image.encrypted", b"LUKS\xba\xbe" + bytes(600)),
        ("image.external", VMDK_OF_FILES),
        ("image.external", vmdk(capacity=0)),
        ("image.backing_file", vmdk(b'parentFileNameHint="/etc/passwd"')),
        ("image.corrupt", vmdk()[:100]),
        ("image.backing_file", vhd(kind=4)),
        ("image.backing_file", bytes(1024) + vhd(kind=4)),
    ],
    ids=range(14),
)
def test_se_9_an_image_that_reaches_out_or_is_encrypted_is_unsafe(tmp_path: Path, code: str, content: bytes) -> None:
    with pytest.raises(UnsafeImage):
        read_header(written(tmp_path, content))
    with pytest.raises(Refused) as caught:
        judge(tmp_path / "image", 10)
    assert caught.value.code == code


@pytest.mark.parametrize("backing", [b"/etc/shadow", b"nbd://192.0.2.1/secret", b"json:{}"])
def test_se_9_a_backing_file_is_refused(tmp_path: Path, backing: bytes) -> None:
    path = written(tmp_path, qcow2(backing=backing))
    assert read_header(path).backing == backing.decode()
    with pytest.raises(Refused) as caught:
        judge(path, 10)
    assert caught.value.code == "image.backing_file"


def test_se_9_a_disk_above_the_ceiling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="above 1 GiB") as caught:
        judge(written(tmp_path, qcow2(size=2**31)), 1)
    assert caught.value.code == "image.too_large"


def test_a_header_with_nothing_behind_it_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        judge(written(tmp_path, qcow2()), 1)
    assert caught.value.code == "image.not_an_image"


@pytest.mark.parametrize(
    ("content", "format_", "size"),
    [
        (bytes(1000), "raw", 1024),
        (b"<html>not found</html>", "other", 22),
        (b"\x1f\x8b" + bytes(98), "other", 100),
        (b"", "other", 0),
        (qcow2(size=12345), "qcow2", 12345),
        (vmdk(), "vmdk", 512 + 20 * 512),
        (vhd(), "vpc", 512),
        (bytes(1024) + vhd(), "vpc", 1536),
        (b"vhdxfile" + bytes(92), "vhdx", 100),
    ],
)
def test_format_and_size_come_from_the_content(tmp_path: Path, content: bytes, format_: str, size: int) -> None:
    header = read_header(written(tmp_path, content))
    assert (header.format, header.virtual_size) == (format_, size)
