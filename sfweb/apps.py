"""The Django application that owns every table and page."""

from django.apps import AppConfig


class SfwebConfig(AppConfig):
    name = "sfweb"
    verbose_name = "Steadyfist"
    default_auto_field = "django.db.models.BigAutoField"
