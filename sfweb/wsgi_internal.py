"""The process that nodes talk to; it has no public address. A process of its own, so that tenants cannot starve nodes."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")
os.environ["SF_INTERNAL"] = "1"

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from sfweb.schema import require_current_schema

if settings.ROOT_URLCONF != "sfweb.urls_internal":
    raise RuntimeError("the settings were read before SF_INTERNAL was set: this process would serve the public API")
application = get_wsgi_application()
require_current_schema()
