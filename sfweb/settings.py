"""Settings of every control-plane process, from the environment. `.env.example` lists them with their meaning."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from sfweb import logs

BASE_DIR = Path(__file__).resolve().parent.parent


def _flag(name: str, default: bool = False) -> bool:
    return os.environ.get(name, str(default)).lower() in ("1", "true", "yes", "on")


def database_entry(url: str) -> dict[str, Any]:
    """Django's entry for mysql://user:password@host:port/name?unix_socket=PATH&ssl_ca=PATH."""
    parts = urlsplit(url)
    if parts.scheme not in ("mysql", "mariadb"):
        raise ImproperlyConfigured("DATABASE_URL must begin with mysql://")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options: dict[str, Any] = {
        "charset": "utf8mb4",
        "isolation_level": "read committed",
        "connect_timeout": 5,
        # longer than any of our transactions, shorter than a client's patience
        "init_command": "SET SESSION innodb_lock_wait_timeout=8",
    }
    if "unix_socket" in query:
        options["unix_socket"] = query["unix_socket"]
    if "ssl_ca" in query:
        options |= {"ssl": {"ca": query["ssl_ca"]}, "ssl_mode": "VERIFY_IDENTITY"}
    return {
        "ENGINE": "sfweb.mariadb",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
        "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_nopad_bin"},
    }


TIME_SCALE = float(os.environ.get("TIME_SCALE", "1"))
"""Factor on every period, lease, halo and timeout of the product; below 1 in tests."""

SECRET_KEY = os.environ.get("SECRET_KEY", "")
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set: give every control-plane process the same long random text")
AUTH_SECRET = os.environ.get("AUTH_SECRET", SECRET_KEY)
ZONE = os.environ.get("ZONE", "steadyfist")
API_TOKEN_SECONDS = int(os.environ.get("API_TOKEN_SECONDS", "900"))
KEY_HASH_ROUNDS = int(os.environ.get("KEY_HASH_ROUNDS", "10"))
"""bcrypt's cost for keys of namespaces: 2 to this power; 4 in tests."""
NAMESPACE_KEY_REAP_GRACE = float(os.environ.get("NAMESPACE_KEY_REAP_GRACE", "3600")) * TIME_SCALE
"""For how long an expired key is still there to be looked at; 0: for ever (AU-6)."""
DEBUG = False
ALLOWED_HOSTS = ["*"]
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

DATABASES = {"default": database_entry(os.environ.get("DATABASE_URL", "mysql://steadyfist@127.0.0.1:3306/steadyfist"))}
SCHEMA_DATABASE_URL = os.environ.get("SCHEMA_DATABASE_URL", "")
BROKER_URL = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
BROKER_ADMIN_URL = os.environ.get("BROKER_ADMIN_URL", "")
NODE_BROKER_URL = os.environ.get("NODE_BROKER_URL", BROKER_URL)
INTERNAL_ADDRESSES = [
    item for item in os.environ.get("INTERNAL_ADDRESSES", "http://127.0.0.1:13001").split(",") if item
]
API_PUBLIC_URL = os.environ.get("API_PUBLIC_URL", "")

INSTALLED_APPS = [
    "sfweb.apps.SteadyfistAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "health_check",
    "django_celery_beat",
    "sfweb.apps.SfwebConfig",
]
MIDDLEWARE = [
    "sfweb.middleware.RequestIdentity",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "sfweb.urls"
if _flag("SF_INTERNAL"):
    ROOT_URLCONF = "sfweb.urls_internal"
    MIDDLEWARE = MIDDLEWARE[:1]
    """Nodes have no sessions, cookies or pages: their requests need only an identity."""
WSGI_APPLICATION = "sfweb.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "sfweb" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
"""Without a directory made by `collectstatic` each process serves the files from where they are installed."""

AUTHENTICATION_BACKENDS = ["sfweb.signin.KeyBackend"]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/docs/"
SESSION_COOKIE_NAME = "steadyfist_session"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = API_PUBLIC_URL.startswith("https://")
CSRF_COOKIE_NAME = "steadyfist_csrf"
CSRF_TRUSTED_ORIGINS = [API_PUBLIC_URL] if API_PUBLIC_URL else []
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
"""The largest body: one chunk of an upload. JSON has a lower limit of its own."""
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DNS_SERVERS = [item for item in os.environ.get("DNS_SERVERS", "8.8.8.8").split(",") if item]
FLOATING_NETWORK = os.environ.get("FLOATING_NETWORK", "192.168.20.0/24")
FLOATING_GATEWAY = os.environ.get("FLOATING_GATEWAY", "")
"""The outside router's address; the first address of the block when empty."""

NOTICE_ALLOW = [item for item in os.environ.get("NOTICE_ALLOW", "").split(",") if item]
"""Private blocks that webhooks of notices may be in."""
EMAIL_HOST = os.environ.get("EMAIL_HOST", "")
EMAIL_PORT = int(os.environ.get("EMAIL_PORT", "587"))
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = os.environ.get("EMAIL_USE_TLS", "1") == "1"
EMAIL_TIMEOUT = 15
DEFAULT_FROM_EMAIL = os.environ.get("EMAIL_FROM", "steadyfist@localhost")
FETCH_ALLOW = [item for item in os.environ.get("FETCH_ALLOW", "").split(",") if item]
"""Private ranges (CIDR) that images may be fetched from; everything private is refused otherwise."""

CPU_OVERCOMMIT_RATIO = float(os.environ.get("CPU_OVERCOMMIT_RATIO", "3.0"))
RAM_OVERCOMMIT_RATIO = float(os.environ.get("RAM_OVERCOMMIT_RATIO", "1.0"))
DISK_OVERCOMMIT_RATIO = float(os.environ.get("DISK_OVERCOMMIT_RATIO", "1.0"))
CLAIM_ENFORCEMENT = os.environ.get("CLAIM_ENFORCEMENT", "hard")
"""What happens to what exceeds its namespace's claim: `hard` refuses it, `advisory` tells of it."""
if CLAIM_ENFORCEMENT not in ("hard", "advisory"):
    raise ImproperlyConfigured("CLAIM_ENFORCEMENT must be hard or advisory")
RESERVATION_TTL_SECONDS = 600 * TIME_SCALE
"""How long room stays claimed for an instance that no operation makes any more."""
IP_DELETION_HALO_SECONDS = 300 * TIME_SCALE
IP_CONGESTED_HALO_SECONDS = 30 * TIME_SCALE
PORT_QUARANTINE_SECONDS = 60 * TIME_SCALE
CLEANER_DELAY_SECONDS = float(os.environ.get("CLEANER_DELAY_SECONDS", "3600")) * TIME_SCALE
NODE_SILENT_SECONDS = 60 * TIME_SCALE
NODE_MISSING_SECONDS = 120 * TIME_SCALE
CARRIER_LEASE_SECONDS = 60 * TIME_SCALE
NODE_RESOURCES_SECONDS = 300 * TIME_SCALE
"""How often an event tells what a node has."""
DRAIN_AT_ONCE = int(os.environ.get("DRAIN_AT_ONCE", "2"))
"""Instances of one node that move away at the same time."""
SHUT_DOWN_SECONDS = float(os.environ.get("SHUT_DOWN_SECONDS", "120")) * TIME_SCALE
"""How long a guest that is to be moved cold may take to shut down."""
REPORT_IDLE_SECONDS = 30 * TIME_SCALE
REPORT_BUSY_SECONDS = 5 * TIME_SCALE
REPORT_CARRIER_SECONDS = 10 * TIME_SCALE
OPERATION_LONG_WAIT_SECONDS = 300 * TIME_SCALE
"""After so long without a step sent, an operation's event says what it waits for."""
OPERATION_KEEP_SECONDS = 7 * 86400
EVENT_KEEP_SECONDS = {
    kind: float(os.environ.get(f"MAX_{kind.upper()}_EVENT_AGE", str(days * 86400)))
    for kind, days in {
        "audit": 90,
        "mutate": 90,
        "health": 90,
        "historic": 90,
        "usage": 30,
        "prune": 30,
        "status": 7,
        "resources": 7,
    }.items()
}
"""Seconds for which events of each type are kept; -1 for ever."""
AGENT_OPERATION_DEFAULT_DEADLINE = int(os.environ.get("AGENT_OPERATION_DEFAULT_DEADLINE", "600"))
AGENT_OPERATION_MAX_DEADLINE = int(os.environ.get("AGENT_OPERATION_MAX_DEADLINE", "86400"))
"""Seconds that what is asked of a guest's agent may take: unless said otherwise, and at most."""
AGENT_FILE_MAX_BYTES = int(os.environ.get("AGENT_FILE_MAX_GIB", "10")) * 2**30

API_WAIT_SECONDS = 15.0
"""How long an answer that is wanted at once waits for its operation; then it is 202."""
BYTES_CONNECT_SECONDS = 5.0
BYTES_READ_SECONDS = 60.0
BYTES_TICKET_SECONDS = 600
"""Talking to a node's byte server: how long to wait for it, and how long a ticket for one object is good (SE-5)."""
SCREENSHOT_SECONDS = float(os.environ.get("SCREENSHOT_SECONDS", "3600")) * TIME_SCALE
VDI_DIRECT = _flag("VDI_DIRECT", True)
NAMESPACE_MAX_INSTANCES = int(os.environ.get("NAMESPACE_MAX_INSTANCES", "500"))
NAMESPACE_MAX_NETWORKS = int(os.environ.get("NAMESPACE_MAX_NETWORKS", "100"))
NAMESPACE_MAX_DISK_GIB = int(os.environ.get("NAMESPACE_MAX_DISK_GIB", "20000"))
NAMESPACE_MAX_WAITING = int(os.environ.get("NAMESPACE_MAX_WAITING", "200"))
NAMESPACE_MAX_UPLOADS = int(os.environ.get("NAMESPACE_MAX_UPLOADS", "20"))
NAMESPACE_MAX_SCHEDULES = int(os.environ.get("NAMESPACE_MAX_SCHEDULES", "500"))
"""Ceilings of a namespace for which `system` has set no other (SE-12)."""
UPLOAD_MAX_BYTES = int(os.environ.get("UPLOAD_MAX_GIB", "512")) * 2**30
UPLOAD_EXPIRY_SECONDS = float(os.environ.get("UPLOAD_EXPIRY_SECONDS", "86400")) * TIME_SCALE
"""An upload that no chunk came for, for so long, goes with its bytes."""
IMAGE_MAX_VIRTUAL_GIB = int(os.environ.get("IMAGE_MAX_VIRTUAL_GIB", "1024"))
"""The largest disk that an image may claim to be (SE-9)."""
IMAGE_CATALOGUE = os.environ.get("IMAGE_CATALOGUE") or str(BASE_DIR / "sfweb" / "images.toml")
"""The list of well-known images, for operators to edit."""
BLOB_COPIES = int(os.environ.get("BLOB_COPIES", "2"))
"""On how many nodes each blob is kept; fewer where there are fewer nodes."""
BLOB_UNUSED_SECONDS = float(os.environ.get("BLOB_UNUSED_SECONDS", "3600")) * TIME_SCALE
"""How old a blob is before it counts as unused because nothing refers to it."""
CACERT_FILE = os.environ.get("CACERT_FILE", "")
"""PEM of the authority that signed the API's certificate, for clients to trust; empty: there is none of our own."""
FLOWER_URL = os.environ.get("FLOWER_URL", "")

CONSOLE_BIND = os.environ.get("CONSOLE_BIND", "127.0.0.1:13002")
CONSOLE_URL = os.environ.get("CONSOLE_URL", "ws://127.0.0.1:13002/")
"""Where users reach the console process, as the API tells them."""
CONSOLE_ORIGINS = [item for item in os.environ.get("CONSOLE_ORIGINS", API_PUBLIC_URL).split(",") if item]
"""Origins of pages that may open a console."""

METRICS_PORT = int(os.environ["METRICS_PORT"]) if os.environ.get("METRICS_PORT") else None
METRICS_ADDRESS = os.environ.get("METRICS_ADDRESS", "127.0.0.1")
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO")
LOGGING = logs.configuration(LOG_LEVEL)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["sfweb.api.auth.BearerToken", "sfweb.api.auth.BrowserSession"],
    "DEFAULT_PERMISSION_CLASSES": ["sfweb.api.auth.IsCaller"],
    "DEFAULT_PARSER_CLASSES": ["sfweb.api.formats.AnyJson"],
    "DEFAULT_RENDERER_CLASSES": ["sfweb.api.formats.Json", "sfweb.api.formats.Browsable"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "sfweb.api.formats.JsonUnlessAsked",
    "DEFAULT_SCHEMA_CLASS": "sfweb.api.schema.ViewSchema",
    "EXCEPTION_HANDLER": "sfweb.api.errors.answer_exception",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Steadyfist",
    "DESCRIPTION": "A small KVM cloud. Errors have one shape: error, status, code, details, request_id.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "ENFORCE_NON_BLANK_FIELDS": True,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "sfweb.api.schema.add_shapes"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["sfweb.api.auth.IsCaller"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "DISABLE_ERRORS_AND_WARNINGS": False,
}
