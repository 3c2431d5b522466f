"""Two ways in: a token for machines, a session for people. Either way `request.user` is a Caller.

The token comes first, so that what is missing or wrong answers 401 with a challenge. Neither way caches a key: each
request reads the key's row once, and a changed or removed key ends its tokens and sessions at once (AU-2).
"""

import datetime
from typing import Any

import jwt
from django.conf import settings
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from sfweb.api.errors import CHALLENGE
from sfweb.api.scopes import require_admin, require_scopes
from sfweb.domain.callers import Caller
from sfweb.domain.keys import ProvenKey, prove_nonce
from sfweb.errors import Unauthenticated

ALGORITHM = "HS256"


def make_token(key: ProvenKey) -> tuple[str, int]:
    """A token for the key and its seconds of life, never longer than the key's own (AU-3)."""
    seconds = settings.API_TOKEN_SECONDS
    if key.seconds_left is not None:
        seconds = max(1, min(seconds, int(key.seconds_left)))
    now = datetime.datetime.now(datetime.UTC)
    claims = {
        "sub": f"{key.namespace}/{key.name}",
        "iss": settings.ZONE,
        "nonce": key.nonce,
        "iat": now,
        "exp": now + datetime.timedelta(seconds=seconds),
    }
    return jwt.encode(claims, settings.AUTH_SECRET, algorithm=ALGORITHM), seconds


def read_token(token: str) -> ProvenKey:
    """The living key that the token was made for; Unauthenticated for any other token."""
    try:
        claims = jwt.decode(
            token,
            settings.AUTH_SECRET,
            algorithms=[ALGORITHM],
            issuer=settings.ZONE,
            options={"require": ["sub", "iss", "exp", "nonce"]},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("the token has expired", code="token_expired") from None
    except jwt.InvalidTokenError:
        raise Unauthenticated("the token is not valid", code="token_invalid") from None
    namespace, _, name = claims["sub"].partition("/")
    return prove_nonce(namespace, name, str(claims["nonce"]))


def as_caller(key: ProvenKey, request: Any) -> Caller:
    return Caller(
        namespace=key.namespace,
        namespace_uuid=key.namespace_uuid,
        key_name=key.name,
        scopes=key.scopes,
        nonce=key.nonce,
        request_id=getattr(request, "id", ""),
    )


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer TOKEN`. Any other content of that header is refused, its absence is not."""

    def authenticate(self, request: Request) -> tuple[Caller, ProvenKey] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if not header:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the Authorization header must be: Bearer TOKEN", code="token_invalid")
        key = read_token(token.strip())
        return as_caller(key, request), key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class BrowserSession(SessionAuthentication):
    """The session of the login page, only where its cookie is there and no Authorization header; with CSRF."""

    def authenticate(self, request: Request) -> tuple[Caller, ProvenKey] | None:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or "HTTP_AUTHORIZATION" in request.META:
            return None
        found = super().authenticate(request)
        if found is None:
            return None
        key: ProvenKey = found[0].proven_key
        return as_caller(key, request), key


class IsCaller(BasePermission):
    """Everybody who has proven a key. Without one: 401; with one that is scoped to other things: 403."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not isinstance(request.user, Caller):
            return False
        require_scopes(request.user, view, request.method or "")
        return True


class IsSystem(IsCaller):
    """Keys of the `system` namespace, scoped ones with `cluster-admin`. Others get the 401 of the public interface."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not super().has_permission(request, view):
            return False
        if not request.user.is_system:
            raise Unauthenticated("this is for keys of the system namespace", code="system_only")
        require_admin(request.user)
        return True
