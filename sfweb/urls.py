"""Every public URL. Routes have no trailing slash: a redirect would turn a POST into a GET."""

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
