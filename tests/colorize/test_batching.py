"""Limits of what threads hold at a time."""

import threading

from colorlab.colorize.batching import PixelBudget


def test_threads_wait_until_the_budget_has_room() -> None:
    budget, entered = PixelBudget(100), threading.Event()

    def reserve_one() -> None:
        with budget.reserve(1):
            entered.set()

    with budget.reserve(60):
        with budget.reserve(40):
            thread = threading.Thread(target=reserve_one, daemon=True)
            thread.start()
            assert not entered.wait(0.2)
        assert entered.wait(120)
    thread.join()


def test_a_picture_above_the_budget_is_held_alone() -> None:
    budget, entered = PixelBudget(100), threading.Event()

    def reserve_one() -> None:
        with budget.reserve(1):
            entered.set()

    with budget.reserve(1000):
        thread = threading.Thread(target=reserve_one, daemon=True)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(120)
    thread.join()
