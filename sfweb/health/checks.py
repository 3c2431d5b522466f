"""The page of checks for operators. Its texts name hosts and ages, so it is for staff and not for load balancers."""

import abc
import dataclasses
import datetime

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.models import Min
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable, ServiceWarning
from health_check.views import HealthCheckView

from sfweb.domain.blob_copies import FAILED
from sfweb.models import BlobHash, Duty, Node, Operation
from sfweb.models.fields import FromNow, UtcNow, database_now
from sfweb.models.state import OperationState, State

WAITING_SECONDS = 300
"""An operation that waits longer is worth a look."""
BEAT_SECONDS = 120


class RowCheck(HealthCheck):
    """A check that asks the database. It runs in a thread that ends with it, so its connection does too."""

    def run(self) -> None:
        try:
            self.look()
        finally:
            connection.close()

    @abc.abstractmethod
    def look(self) -> None:
        """Raise what is wrong."""


@dataclasses.dataclass
class Database(RowCheck):
    """The database answers."""

    def look(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")


@dataclasses.dataclass
class Broker(HealthCheck):
    """Redis answers; without it everything works, slower."""

    def run(self) -> None:
        client = redis.Redis.from_url(settings.BROKER_URL, socket_timeout=2, socket_connect_timeout=2)
        try:
            client.ping()
        except redis.RedisError as error:
            raise ServiceUnavailable(f"Redis does not answer: {type(error).__name__}") from error
        finally:
            client.close()


@dataclasses.dataclass
class WaitingOperations(RowCheck):
    """No operation has been waiting for long."""

    def look(self) -> None:
        oldest = Operation.objects.filter(state=OperationState.WAITING).aggregate(oldest=Min("created_at"))["oldest"]
        age = _age(oldest)
        if age > WAITING_SECONDS:
            raise ServiceWarning(f"the oldest waiting operation is {age:.0f} s old")


@dataclasses.dataclass
class Beat(RowCheck):
    """Recurring duties run when they are due."""

    def look(self) -> None:
        late = Duty.objects.filter(next_run_at__lt=FromNow(-BEAT_SECONDS), running_until=None) | Duty.objects.filter(
            next_run_at__lt=FromNow(-BEAT_SECONDS), running_until__lt=UtcNow()
        )
        names = list(late.order_by("name").values_list("name", flat=True))
        if names:
            raise ServiceUnavailable(f"overdue: {', '.join(names)}")


@dataclasses.dataclass
class Nodes(RowCheck):
    """Every node reports."""

    def look(self) -> None:
        silent = Node.objects.exclude(state__in=(State.DELETED, State.INITIAL)).filter(
            last_seen__lt=FromNow(-settings.NODE_SILENT_SECONDS)
        )
        names = list(silent.order_by("name").values_list("name", flat=True)[:20])
        if names:
            raise ServiceWarning(f"silent: {', '.join(names)}")


@dataclasses.dataclass
class Copies(RowCheck):
    """Every blob lies on as many nodes as it should, and every copy is what it was when it came."""

    def look(self) -> None:
        broken = BlobHash.objects.filter(status=FAILED, algorithm="sha512").count()
        found = (Duty.objects.filter(name="blob_copies").values_list("last_result", flat=True).first()) or {}
        wanted, short = found.get("wanted", settings.BLOB_COPIES), found.get("short", 0)
        said = [f"{broken} copies of blobs failed their verification"] if broken else []
        said += [f"{short} blobs or more have fewer than {wanted} copies"] if short else []
        if wanted < settings.BLOB_COPIES:
            said.append(f"blobs lie on {wanted} of {settings.BLOB_COPIES} nodes: there are no more")
        if said:
            raise ServiceWarning("; ".join(said))


def _age(moment: datetime.datetime | None) -> float:
    return (database_now() - moment).total_seconds() if moment else 0.0


class HealthPage(HealthCheckView):
    """All checks, for keys of the system namespace that are signed in."""

    checks = (Database, Broker, WaitingOperations, Beat, Nodes, Copies)

    async def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        user = await sync_to_async(lambda: request.user if request.user.is_staff else AnonymousUser())()
        if not user.is_authenticated:
            return HttpResponseRedirect(f"{settings.LOGIN_URL}?next={request.path}")
        return await super().dispatch(request, *args, **kwargs)
