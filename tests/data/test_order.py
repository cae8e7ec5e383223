"""The order of an epoch with weights and groups."""

from collections import Counter

import numpy as np

from colorlab.data.order import Share, WeightedOrder, grouped_permutation


def epoch_of(order: WeightedOrder, epoch: int) -> list[int]:
    order.set_epoch(epoch)
    return list(order)


def weighted(shares: list[Share], processes: int = 1, rank: int = 0, seed: int = 0) -> WeightedOrder:
    count = sum(share.photographs for share in shares)
    return WeightedOrder(range(count), shares, np.full(count, -1), 16, processes, rank, seed)


def test_photographs_are_shown_as_often_as_their_weight_says() -> None:
    order = weighted([Share(4, 1.0), Share(3, 2.5), Share(10, 0.5), Share(0, 7.0)])
    assert len(order) == 4 + 8 + 5  # 7.5 is rounded
    seen = Counter()
    for epoch in range(200):
        shown = Counter(entry % 17 for entry in epoch_of(order, epoch))
        assert [shown[place] for place in range(4)] == [1] * 4
        assert sorted(shown[place] for place in range(4, 7)) == [2, 3, 3]
        assert sorted(shown[place] for place in range(7, 17)) == [0] * 5 + [1] * 5
        seen += shown
    assert all(70 < seen[place] < 130 for place in range(7, 17))


def test_each_showing_of_a_photograph_is_an_entry_of_its_own() -> None:
    entries = epoch_of(weighted([Share(5, 3.0)]), 0)
    assert sorted(entries) == list(range(15))


def test_the_order_depends_on_the_seed_and_the_epoch_and_is_shared_by_processes() -> None:
    shares = [Share(6, 1.0), Share(4, 2.0)]
    whole = epoch_of(weighted(shares), 3)
    assert whole == epoch_of(weighted(shares), 3)
    assert whole != epoch_of(weighted(shares), 4)
    assert whole != epoch_of(weighted(shares, seed=1), 3)
    parts = [epoch_of(weighted(shares, processes=2, rank=rank), 3) for rank in (0, 1)]
    assert [entry for turn in zip(*parts, strict=True) for entry in turn] == whole


def test_a_resume_skips_the_beginning() -> None:
    order = weighted([Share(6, 1.5)])
    whole = epoch_of(order, 1)
    order.skip = 4
    assert epoch_of(order, 1) == whole[4:]


def test_few_groups_are_needed_at_a_time_and_those_without_one_come_at_any_time() -> None:
    groups = np.repeat(np.arange(-1, 40), 10)
    order = grouped_permutation(groups, 4, np.random.RandomState(0))
    assert sorted(order) == list(range(410))
    where = groups[order]
    spans = [np.ptp(np.flatnonzero(where == group)) for group in range(40)]
    assert max(spans) < 6 * 10
    assert np.ptp(np.flatnonzero(where == -1)) > 200
