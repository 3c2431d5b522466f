"""What every pass over many rows has in common."""

import logging
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

log = logging.getLogger(__name__)


def one_of_many(act: Callable[[], int], complaint: str, **facts: object) -> int:
    """What `act` counts; 0, with a logged `complaint`, when it fails: one row must not keep the others (RO-12).

    An outage of the database ends the pass.
    """
    try:
        return act()
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception(complaint, extra={name: str(value) for name, value in facts.items()})
        return 0
