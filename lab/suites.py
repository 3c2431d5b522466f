"""`python -m lab.suites fast real e2e`: the tests part by part, with the seconds of each; a part over its budget fails.

PROVE=1 lifts the budgets, and tests that have a full size take it.
"""

import os
import subprocess
import sys
import time

from lab.layout import REPOSITORY

PARTS = {
    "fast": (["-m", "not real and not e2e", "-n", "2"], 300.0),
    "real": (["-m", "real"], 1100.0),
    "e2e": (["-m", "e2e"], 1300.0),
}
"""Name: pytest's words, seconds: twice what a quiet machine with two cores needs (150, 550 and 670), as others may use it as
well. What has grown beyond that has grown by itself."""
NO_TESTS = 5


def run(name: str) -> tuple[int, float]:
    """pytest's exit status and the seconds."""
    words, budget = PARTS[name]
    begin = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", *words]
    status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
    seconds = time.monotonic() - begin
    if status == 0 and seconds > budget and not os.environ.get("PROVE"):
        print(f"{name} took {seconds:.0f} s, {budget:.0f} s is its budget", file=sys.stderr)
        status = 1
    return (0 if status == NO_TESTS else status), seconds


def main() -> int:
    results = [(name, *run(name)) for name in sys.argv[1:] or PARTS]
    for name, status, seconds in results:
        print(f"{name:5} {'passed' if status == 0 else 'FAILED'} in {seconds:.0f} s")
    return 1 if any(status for _, status, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
