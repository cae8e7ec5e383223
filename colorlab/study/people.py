"""Who takes part from which address at the moment."""

import time
from collections import defaultdict
from threading import Lock

ABSENT_SECONDS = 120.0
"""People who have done nothing for this time are regarded as gone."""


class TooManyPeople(Exception):
    """As many people take part from an address as may."""


class People:
    """Limits how many people take part from one address at a time; people of a household or a school share one.

    Nothing of this is written to disk.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._last: dict[str, dict[str, float]] = defaultdict(dict)  # by address and token: when something was done

    def make_room(self, address: str) -> None:
        """Forget people who have gone, and check that another person may begin.

        Raises:
            TooManyPeople: nobody else may begin.
        """
        with self._lock:
            now = time.monotonic()
            for place, people in list(self._last.items()):
                self._last[place] = {who: at for who, at in people.items() if now - at < ABSENT_SECONDS}
                if not self._last[place]:
                    del self._last[place]
            if len(self._last.get(address, ())) >= self.most:
                raise TooManyPeople

    def saw(self, address: str, token: str) -> None:
        """Note that a person has done something."""
        with self._lock:
            self._last[address][token] = time.monotonic()

    def left(self, address: str, token: str) -> None:
        """Note that a person has finished."""
        with self._lock:
            self._last[address].pop(token, None)
