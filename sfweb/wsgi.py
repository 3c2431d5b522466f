"""The public process: `gunicorn -c python:sfweb.gunicorn sfweb.wsgi`. Refuses to start on a database that does not fit."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")

from django.core.wsgi import get_wsgi_application

from sfweb.schema import require_current_schema

application = get_wsgi_application()
require_current_schema()
