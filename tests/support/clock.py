"""A clock for tests of durations."""


class Clock:
    """A clock that advances only when told to: a real one would measure the load of the machine."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now
