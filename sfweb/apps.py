"""The Django applications that own every table and page."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SfwebConfig(AppConfig):
    name = "sfweb"
    verbose_name = "Steadyfist"
    default_auto_field = "django.db.models.BigAutoField"


class SteadyfistAdminConfig(AdminConfig):
    default_site = "sfweb.adminsite.SteadyfistSite"
