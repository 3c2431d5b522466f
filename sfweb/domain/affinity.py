"""What an instance wants of its neighbours: instances of its own namespace, known by their `tags` (AF-1, AF-2). Pure.

Two forms are understood and never mixed. Lists: `require_with_tag`, `require_without_tag`, `prefer_with_tag`,
`prefer_without_tag`. Weights, the older form, `{tag: number}`: only the sign counts, as a preference.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sfweb.errors import Invalid

LISTS = ("require_with_tag", "require_without_tag", "prefer_with_tag", "prefer_without_tag")
MOST_TAGS = 64
OLD_FORM = "affinity was given as weights: only their signs count; the form of lists says what is meant"


@dataclass(frozen=True, kw_only=True)
class Affinity:
    """Tags by what is wanted of them. `by_weights`: it was said in the older form."""

    require_with_tag: frozenset[str] = frozenset()
    require_without_tag: frozenset[str] = frozenset()
    prefer_with_tag: frozenset[str] = frozenset()
    prefer_without_tag: frozenset[str] = frozenset()
    by_weights: bool = False

    @property
    def requires(self) -> bool:
        return bool(self.require_with_tag or self.require_without_tag)

    @property
    def tags(self) -> frozenset[str]:
        """All tags that matter to it."""
        return self.require_with_tag | self.require_without_tag | self.prefer_with_tag | self.prefer_without_tag

    def broken(self, there: Mapping[str, int]) -> tuple[str, ...]:
        """The requirements that a node with so many neighbours of each tag does not meet."""
        missing = [f"require_with_tag: {tag}" for tag in sorted(self.require_with_tag) if not there.get(tag)]
        return (
            *missing,
            *(f"require_without_tag: {tag}" for tag in sorted(self.require_without_tag) if there.get(tag)),
        )

    def liking(self, there: Mapping[str, int]) -> int:
        """One for each neighbour with a preferred tag, minus one for each with an unwanted one."""
        liked = sum(there.get(tag, 0) for tag in self.prefer_with_tag)
        return liked - sum(there.get(tag, 0) for tag in self.prefer_without_tag)


NONE = Affinity()


def affinity_of(metadata: Mapping[str, Any]) -> Affinity:
    """The affinity that an instance's metadata says. Raises Invalid."""
    return parse(metadata["affinity"]) if "affinity" in metadata else NONE


def tags_of(metadata: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(metadata.get("tags", ()))


def parse(value: Any) -> Affinity:
    if not isinstance(value, dict):
        raise Invalid('value: value for "affinity" key should be an object')
    if not any(name in LISTS for name in value):
        return _by_weights(value)
    if others := sorted(str(name) for name in value if name not in LISTS):
        raise Invalid(f'value: affinity mixes two forms: "{others[0][:100]}" is not one of {", ".join(LISTS)}')
    lists = {name: _tags(name, value.get(name, [])) for name in LISTS}
    return Affinity(
        require_with_tag=lists["require_with_tag"],
        require_without_tag=lists["require_without_tag"],
        prefer_with_tag=lists["prefer_with_tag"],
        prefer_without_tag=lists["prefer_without_tag"],
    )


def _by_weights(value: Mapping[str, Any]) -> Affinity:
    signs: dict[str, int] = {}
    for tag, weight in value.items():
        try:
            signs[tag] = int(weight)
        except (TypeError, ValueError, OverflowError):
            raise Invalid(f'value: affinity of "{tag}" should be an integer') from None
    _check_number("affinity", signs)
    return Affinity(
        prefer_with_tag=frozenset(tag for tag, sign in signs.items() if sign > 0),
        prefer_without_tag=frozenset(tag for tag, sign in signs.items() if sign < 0),
        by_weights=True,
    )


def _tags(name: str, tags: Any) -> frozenset[str]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise Invalid(f"value: {name} should be a list of tags")
    _check_number(name, tags)
    return frozenset(tags)


def _check_number(name: str, tags: Iterable[str]) -> None:
    if len(list(tags)) > MOST_TAGS:
        raise Invalid(f"value: {name} has more than {MOST_TAGS} tags")
