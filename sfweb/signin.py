"""How people come in: namespace and key on a login page give a session.

A row of Django's own user table stands for each key that ever signed in, because the admin's history refers to one. It
holds no right: rights and liveness are read from the key at every request, and the session ends with the key's nonce.
"""

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from sfweb.domain.keys import ProvenKey, living_key, prove_secret
from sfweb.errors import NotFound, Unauthenticated
from sfweb.models.namespace import SYSTEM


class KeyBackend(BaseBackend):
    """Signs in with a namespace's key; `user.proven_key` is that key as it stands now."""

    def authenticate(
        self, request: HttpRequest | None, namespace: str | None = None, key: str | None = None, **other: Any
    ) -> User | None:
        if not namespace or not key:
            return None
        try:
            proven = prove_secret(namespace, key)
        except (NotFound, Unauthenticated):
            return None
        user, _ = User.objects.get_or_create(username=f"{proven.namespace}/{proven.name}")
        return _with_key(user, proven)

    def get_user(self, user_id: int) -> User | None:
        user = User.objects.filter(pk=user_id).first()
        if user is None:
            return None
        namespace, _, name = user.username.partition("/")
        try:
            return _with_key(user, living_key(namespace, name))
        except Unauthenticated:
            return None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return False


def _with_key(user: User, key: ProvenKey) -> User:
    user.proven_key = key  # type: ignore[attr-defined]
    # the administration knows no scopes, so it is for keys that have none
    user.is_staff = user.is_superuser = key.namespace == SYSTEM and key.scopes is None
    user.password = f"!{key.nonce}"  # the session's hash is made from this: a new nonce ends the session
    return user


class KeyForm(forms.Form):
    """The login page: namespace and key."""

    namespace = forms.CharField(
        max_length=64, widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "username"})
    )
    key = forms.CharField(
        max_length=1024, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        self.request = request
        self.user: Any = None
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("namespace") and cleaned.get("key"):
            self.user = authenticate(self.request, namespace=cleaned["namespace"], key=cleaned["key"])
            if self.user is None:
                raise forms.ValidationError("The key does not fit the namespace.")
        return cleaned

    def get_user(self) -> Any:
        return self.user
