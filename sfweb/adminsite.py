"""The frame of the administration: our login page, our name. Outside the pages, which register themselves with it."""

from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, HttpResponseRedirect


class SteadyfistSite(AdminSite):
    site_header = site_title = "Steadyfist"
    index_title = f"Zone {settings.ZONE}"
    site_url = "/docs/"
    final_catch_all_view = False  # the API has addresses of its own under /admin/

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """One login page for all of the product; who is signed in without being staff is told so."""
        if request.user.is_authenticated and not request.user.is_staff:
            return HttpResponseForbidden(
                "The administration is for keys of the system namespace.", content_type="text/plain"
            )
        target = request.GET.get("next") or request.get_full_path()
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?next={quote(target)}")
