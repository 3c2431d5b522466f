"""Scopes: which exist, and which covers which (AU-12, AU-13)."""

import pytest

from sfweb.domain.scopes import FAMILIES, KNOWN, check_scopes, covers, covers_all
from sfweb.errors import Invalid


@pytest.mark.parametrize(
    ("held", "scope", "is_covered"),
    [
        (None, "instance.read", True),
        (None, "cluster-admin", True),
        (("*",), "cluster-admin", True),
        (("instance.read",), "instance.read", True),
        (("instance.read",), "instance.write", False),
        (("instance.*",), "instance.power", True),
        (("instance.write",), "instance.power", False),
        (("node.*",), "nodegroup.read", False),
        (("node.*",), "cluster-admin", False),
        (("cluster-admin",), "node.read", False),
        ((), "instance.read", False),
    ],
)
def test_au_13_a_wildcard_is_of_its_whole_family(held, scope, is_covered):
    assert covers(held, scope) is is_covered


def test_au_16_no_family_yields_cluster_admin():
    assert not covers(tuple(f"{family}.*" for family in FAMILIES), "cluster-admin")


@pytest.mark.parametrize(
    ("held", "wanted", "may"),
    [
        (None, None, True),
        (("instance.*",), None, False),
        (("instance.*",), ("instance.read", "instance.*"), True),
        (("instance.read",), ("instance.*",), False),
        (("auth.write", "node.*"), ("cluster-admin",), False),
        (("auth.write",), ("*",), False),
    ],
)
def test_nobody_hands_out_what_he_does_not_have(held, wanted, may):
    assert covers_all(held, wanted) is may


@pytest.mark.parametrize("wanted", [[], ["instance"], ["instance.fly"], ["vm.read"], ["Instance.read"], ["x"] * 65])
def test_iv_1_what_is_no_scope_is_refused(wanted):
    with pytest.raises(Invalid, match="scopes"):
        check_scopes(wanted)


def test_what_is_known_is_sorted_and_said_once():
    assert check_scopes(["node.read", "cluster-admin", "node.read"]) == ("cluster-admin", "node.read")
    assert check_scopes(["*"]) == ("*",)
    assert {"instance.power", "instance.console", "auth.trust"} <= KNOWN
