"""`/livez`, `/readyz`, `/healthz`: for load balancers. No authentication, no cookie, no version, no I/O (HC-1 to HC-4)."""

from django.http import HttpRequest, HttpResponse

from sfweb.health.readiness import checker


def answer_livez(request: HttpRequest) -> HttpResponse:
    """200 while the process serves, whatever its dependencies do (HC-1)."""
    return HttpResponse("ok", content_type="text/plain")


def answer_readyz(request: HttpRequest) -> HttpResponse:
    """What the checker thread last found (HC-2); the first probe of a process starts the thread."""
    checker.start()
    ready = checker.readiness.is_ready
    return HttpResponse("ready" if ready else "not ready", status=200 if ready else 503, content_type="text/plain")
