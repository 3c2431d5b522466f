"""Waiting for an operation within one request, for the few answers that the public interface wants at once."""

import time

from django.conf import settings

from sfweb.models import Operation
from sfweb.models.state import OPEN_OPERATION

LOOK_SECONDS = 0.1


def ended(operation: Operation) -> Operation | None:
    """The operation once it has ended, None when it has not within the wait that a request is given."""
    end = time.monotonic() + settings.API_WAIT_SECONDS
    while True:
        row = Operation.objects.get(pk=operation.pk)
        if row.state not in OPEN_OPERATION:
            return row
        if time.monotonic() >= end:
            return None
        time.sleep(LOOK_SECONDS)
