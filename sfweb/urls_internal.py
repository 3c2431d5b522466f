"""Every internal URL: what nodes call, and the probes."""

from django.urls import include, path

from sfweb.health import answer_livez, answer_readyz

urlpatterns = [
    path("livez", answer_livez),
    path("readyz", answer_readyz),
    path("healthz", answer_readyz),
    path("", include("sfweb.internal.urls")),
]
handler400 = "sfweb.api.errors.bad_request"
handler404 = "sfweb.api.errors.page_not_found"
handler500 = "sfweb.api.errors.server_error"
