"""The process that nodes talk to; it has no public address. A process of its own, so that tenants cannot starve nodes."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")
os.environ["SF_INTERNAL"] = "1"

from django.core.wsgi import get_wsgi_application

from sfweb.schema import require_current_schema

application = get_wsgi_application()
require_current_schema()
