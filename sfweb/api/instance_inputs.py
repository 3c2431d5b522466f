"""How a caller describes a disk and a network card, wherever it asks for one."""

from typing import Any

from sfweb.api.base import Flag, Input, Number, Text


class DiskInput(Input):
    size = Number(max_value=65536)
    base = Text()
    bus = Text()
    type = Text()


class CardInput(Input):
    network_uuid = Text(required=True)
    address = Text()
    macaddress = Text()
    model = Text()

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"float": Flag()}
