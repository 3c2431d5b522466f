"""Numbers of several rounds, as benches print them: min, median, max, and ratios taken round by round."""

import json
import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 3) -> list[float]:
    return [round(min(values), digits), round(statistics.median(values), digits), round(max(values), digits)]


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """[min, median, max] of ours over theirs, round by round."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)
