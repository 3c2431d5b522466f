"""A cluster with one guest whose agent answers, as the tests of guest operations need it."""

from nodeagent.wire import dump
from sftasks.operation import Accepted
from sfweb.domain import guest_agents
from sfweb.models import AgentOperation
from tests.cluster import Cluster


def make_talk(cluster: Cluster) -> Cluster:
    """The guest's node says that its agent answers."""
    states = {instance: dump(state) for instance, state in cluster.home.host.guest_states().items()}
    guest_agents.take(cluster.home.row, states)
    cluster.instance.refresh_from_db()
    return cluster


def row_of(accepted: Accepted) -> AgentOperation:
    return AgentOperation.objects.select_related("operation").get(pk=accepted.row.pk)
