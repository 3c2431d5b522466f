"""Every public URL. Routes have no trailing slash: a redirect would turn a POST into a GET."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularRedocView, SpectacularSwaggerView

from sfweb.api.root import show_capabilities
from sfweb.health import answer_livez, answer_readyz
from sfweb.health.checks import HealthPage
from sfweb.signin import KeyForm

urlpatterns: list[URLPattern | URLResolver] = [
    path("", show_capabilities),
    path("livez", answer_livez),
    path("readyz", answer_readyz),
    path("healthz", answer_readyz),
    path("health/", HealthPage.as_view()),
    path("login", LoginView.as_view(authentication_form=KeyForm, template_name="login.html")),
    path("logout", LogoutView.as_view(next_page="/login")),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="openapi")),
    path("docs/redoc/", SpectacularRedocView.as_view(url_name="openapi")),
    path("admin/", admin.site.urls),
    path("", include("sfweb.api.routes")),
]
handler400 = "sfweb.api.errors.bad_request"
handler404 = "sfweb.api.errors.page_not_found"
handler500 = "sfweb.api.errors.server_error"
