"""URLs of the internal listener, which only nodes reach."""

from django.urls import path

from sfweb.internal import joining, views

urlpatterns = [
    path("internal/enrol", views.enrol),
    path("internal/join", joining.script),
    path("internal/agent", joining.agent),
    path("internal/report", views.report),
    path("internal/outcomes", views.outcomes),
    path("internal/tickets", views.tickets),
    path("internal/steps/<uuid:token>/secrets", views.step_secrets),
]
