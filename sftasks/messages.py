"""Sending what operators are told: a POST to a webhook, or an e-mail. Raises Unsent with the reason.

A webhook's host is resolved here, every address of it is checked, and the connection goes to a checked one, so that no name
leads into the mesh or to this machine (SE-8). No redirect is followed.
"""

import hashlib
import hmac
import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3
from django.conf import settings
from django.core.mail import send_mail

from sfweb.domain.image_urls import check_image_url
from sfweb.errors import Invalid
from sfweb.models import ChannelKind, Notice, NoticeChannel

TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
SIGNATURE = "X-Steadyfist-Signature"


class Unsent(Exception):
    """It was not taken; the text says why."""


def send(channel: NoticeChannel, notices: Sequence[Notice]) -> None:
    """All of them in one message."""
    if channel.kind == ChannelKind.WEBHOOK:
        _post(channel, notices)
    else:
        _mail(channel, notices)


def as_json(notice: Notice) -> dict[str, Any]:
    """`uuid` is the same when the message has to be sent again."""
    return {
        "uuid": str(notice.uuid),
        "kind": notice.kind,
        "subject": notice.subject,
        "sentence": notice.sentence,
        "details": notice.details,
        "at": notice.created_at.timestamp(),
    }


def _post(channel: NoticeChannel, notices: Sequence[Notice]) -> None:
    body = json.dumps({"zone": settings.ZONE, "notices": [as_json(notice) for notice in notices]}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "steadyfist"}
    if channel.secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(channel.secret.encode(), body, hashlib.sha256).hexdigest()
    parts = urlsplit(channel.address)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers["Host"] = parts.netloc.rpartition("@")[2]
    try:
        with _pool(channel.address) as pool:
            answer = pool.urlopen("POST", target, body=body, headers=headers, redirect=False, retries=False)
    except (urllib3.exceptions.HTTPError, OSError, ssl.SSLError) as error:
        raise Unsent(f"{type(error).__name__}: {error}") from error
    if not 200 <= answer.status < 300:
        raise Unsent(f"the server answered {answer.status}")


def _pool(url: str) -> urllib3.HTTPConnectionPool:
    """Connections to one checked address of the URL's host."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    found = [str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    try:
        for address in found:
            literal = f"[{address}]" if ":" in address else address
            check_image_url(f"http://{literal}/", settings.NOTICE_ALLOW, "address")
    except Invalid:
        raise Unsent(f"{host} leads to {address}, where nothing is sent") from None
    if secure:
        return urllib3.HTTPSConnectionPool(
            found[0], port, timeout=TIMEOUT, server_hostname=host, assert_hostname=host, cert_reqs="CERT_REQUIRED"
        )
    return urllib3.HTTPConnectionPool(found[0], port, timeout=TIMEOUT)


def _mail(channel: NoticeChannel, notices: Sequence[Notice]) -> None:
    if not settings.EMAIL_HOST:
        raise Unsent("no mail server is configured: EMAIL_HOST")
    more = f" and {len(notices) - 1} more" if len(notices) > 1 else ""
    subject = f"[{settings.ZONE}] {notices[0].kind}: {notices[0].subject}{more}"
    text = "\n\n".join(f"{one.created_at:%Y-%m-%d %H:%M:%S} UTC  {one.kind}\n{one.sentence}" for one in notices)
    recipients = [word.strip() for word in channel.address.split(",") if word.strip()]
    try:
        send_mail(" ".join(subject.split())[:200], text, settings.DEFAULT_FROM_EMAIL, recipients)
    except OSError as error:  # smtplib's errors are
        raise Unsent(f"{type(error).__name__}: {error}") from error
