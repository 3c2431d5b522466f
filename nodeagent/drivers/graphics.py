"""The screens of this node's guests, for the byte server: a password to one, a picture of one."""

import uuid
from dataclasses import asdict
from typing import Any

from nodeagent import wire
from nodeagent.config import Config
from nodeagent.drivers import screen
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.domains import Domains
from nodeagent.drivers.fetch import Policy
from nodeagent.drivers.layout import Layout
from nodeagent.host import Refused


class Graphics:
    """Raises Retry where the domain has gone or libvirt does not answer, Refused where there is nothing to see."""

    def __init__(self, config: Config, layout: Layout) -> None:
        self._domains = Domains(config.libvirt_uri)
        self._blobs = Blobs(layout, lambda: Policy(allow=[], deny=[], proxy=""))

    def open(self, instance: str, seconds: int) -> dict[str, Any]:
        """Where a viewer connects, and a password that is valid for so long from now on (SE-15)."""
        return asdict(self._domains.open_graphics(instance, seconds))

    def keep_picture(self, instance: str, blob: str) -> dict[str, Any]:
        """Make what the screen shows now a blob of this node; its facts. One that is there already is not made again."""
        known = self._blobs.facts(blob)
        if known is None:
            try:
                picture = screen.as_png(self._domains.screen(instance))
            except ValueError as error:
                raise Refused("screen.none", str(error)) from error
            known = self._blobs.put(blob, picture, uuid.uuid4().hex)
        return dict(wire.dump(known))
