"""The internal listener with the bench's kind of operation beside the product's own."""

import bench.step_kind  # noqa: F401  (registers itself)
from sfweb.wsgi_internal import application

__all__ = ["application"]
