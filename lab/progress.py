"""What a long command says while it works: one line a step, with the seconds that it took."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BEGAN = time.monotonic()


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    begin = time.monotonic()
    ending = "\n" if not sys.stdout.isatty() else ""
    print(f"  {text} …", end=ending, flush=True)
    try:
        yield
    except BaseException:
        print(f"\r  {text}: failed after {time.monotonic() - begin:.1f} s", flush=True)
        raise
    print(f"\r  {text}: {time.monotonic() - begin:.1f} s", flush=True)


def wait_for(what: str, seconds: float, look: Callable[[], object], pause: float = 0.2) -> None:
    """Until `look` answers something true; a RuntimeError of its ends the wait, other errors are "not yet".

    Raises TimeoutError naming `what` and the last thing that `look` complained of.
    """
    end = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if look():
                return
        except RuntimeError:
            raise
        except Exception as error:
            last = f": {type(error).__name__}: {error}"
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s{last}")
        time.sleep(pause)
