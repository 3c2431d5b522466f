"""Tells every few minutes what each node has and what is free of it: the events that `sf-client node resources` reads."""

from django.conf import settings

from sfweb.domain.cluster_resources import tell_of


def run() -> dict[str, int]:
    return {"told": tell_of(settings.NODE_RESOURCES_SECONDS)}
