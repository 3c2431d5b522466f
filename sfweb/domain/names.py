"""What things may be called. Each function returns the name or refuses it as Invalid, naming the parameter."""

import re

from sfweb.errors import Invalid

HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
KEY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}\Z")
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f/]{1,255}\Z")


def check_hostname(name: str, parameter: str = "name") -> str:
    """One label of a hostname: letters, digits and inner hyphens, at most 63; it reaches DNS and DHCP (SE-13)."""
    if not HOSTNAME.match(name):
        raise Invalid(f"{parameter}: must be letters, digits and inner hyphens, 1 to 63 of them")
    return name


def check_key_name(name: str, parameter: str = "key_name") -> str:
    """A key's name stands in URLs and in the subject of tokens."""
    if not KEY_NAME.match(name):
        raise Invalid(f"{parameter}: must be 1 to 64 letters, digits or ._@+- and begin with a letter or digit")
    return name


def check_label(name: str, parameter: str = "name") -> str:
    """An artifact's name: printable, no slash, at most 255 characters."""
    if not PRINTABLE.match(name):
        raise Invalid(f"{parameter}: must be 1 to 255 printable characters without a slash")
    return name
