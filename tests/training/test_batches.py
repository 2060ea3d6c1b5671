"""Batches and their order."""

import pytest
import torch

from training.batches import epoch_order, split_evenly


def test_the_order_of_an_epoch_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (1, 2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(1000))
    assert len({tuple(order.tolist()) for order in [*orders, torch.arange(1000)]}) == 5
    assert torch.equal(epoch_order(1000, 1, 2), orders[3])


@pytest.mark.parametrize(
    ("count", "size"), [(1, 5), (5, 5), (6, 5), (11, 5), (45_001, 2000), (7, None)]
)
def test_batches_are_few_and_of_nearly_one_size(count: int, size: int | None) -> None:
    parts = split_evenly(torch.arange(count), size)
    lengths = [len(part) for part in parts]
    assert torch.cat(parts).tolist() == list(range(count))
    assert len(parts) == (1 if size is None else -(-count // size))
    assert max(lengths) <= (size or count)
    assert max(lengths) - min(lengths) <= 1
