"""Takes pictures of screens away that nobody needs any more, and those that never came."""

from django.conf import settings

from sftasks import screenshots
from sfweb.models import Screenshot
from sfweb.models.fields import FromNow

PAGE = 200


def run() -> dict[str, int]:
    old = Screenshot.objects.filter(created_at__lt=FromNow(-settings.SCREENSHOT_SECONDS)).order_by("created_at")
    return {"screenshots": sum(screenshots.drop(blob) for blob in list(old.values_list("pk", flat=True)[:PAGE]))}
