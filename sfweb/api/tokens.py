"""POST /auth: a namespace and its key for a token of a few minutes."""

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from sfweb.api.auth import make_token
from sfweb.api.base import ApiView, Input, Text, takes
from sfweb.domain.keys import prove_secret


class Credentials(Input):
    namespace = Text(required=True, max_length=64)
    key = Text(required=True)


class Tokens(ApiView):
    """Public: this is how one becomes known."""

    authentication_classes: ClassVar[Any] = []
    permission_classes: ClassVar[Any] = []

    @takes(Credentials)
    def post(self, request: Request, wanted: dict[str, Any]) -> Response:
        token, seconds = make_token(prove_secret(wanted["namespace"], wanted["key"]))
        response = Response({"access_token": token, "token_type": "Bearer", "expires_in": seconds})
        response["Cache-Control"] = "no-store"
        return response
