"""Batches: coverage, order and padding."""

from __future__ import annotations

import numpy as np
import pytest

from modelworks.preprocessing.batch_sampler import BatchSampler, in_order


def epoch_batches(
    indices: np.ndarray, lengths: np.ndarray | None, size: int, seed: int, epoch: int, tokens: int = 0
) -> list[np.ndarray]:
    schedule = BatchSampler(indices, lengths, epochs=epoch + 1, batch_size=size, batch_tokens=tokens, seed=seed)
    return schedule.batches(epoch)


INDICES = np.arange(5, 1008)
LENGTHS = np.random.default_rng(0).integers(1, 100, size=1008)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["images", "texts"])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 5000])
def test_every_index_occurs_once_per_epoch(lengths: np.ndarray | None, batch_size: int) -> None:
    batches = epoch_batches(INDICES, lengths, batch_size, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == INDICES.tolist()
    assert len(batches) == -(-len(INDICES) // batch_size)
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["images", "texts"])
def test_order_depends_on_seed_and_epoch(lengths: np.ndarray | None) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return [int(index) for index in np.concatenate(epoch_batches(INDICES, lengths, 32, seed, epoch))]

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def padding(batches: list[np.ndarray]) -> float:
    """Return the share of padding in padded batches."""
    real = sum(LENGTHS[batch].sum() for batch in batches)
    return float(1 - real / sum(len(batch) * LENGTHS[batch].max() for batch in batches))


def test_texts_of_similar_length_share_a_batch() -> None:
    plain = epoch_batches(INDICES, None, 16, seed=0, epoch=0)
    bucketed = epoch_batches(INDICES, LENGTHS, 16, seed=0, epoch=0)
    assert padding(bucketed) < padding(plain) / 5
    assert padding(in_order(INDICES, LENGTHS, 16)) < padding(plain) / 5


@pytest.mark.parametrize("tokens", [50, 400, 10**6])
def test_batch_tokens_is_respected_and_used(tokens: int) -> None:
    batches = epoch_batches(INDICES, LENGTHS, 1, seed=0, epoch=0, tokens=tokens)
    assert sorted(np.concatenate(batches)) == INDICES.tolist()
    padded = [len(batch) * int(LENGTHS[batch].max()) for batch in batches]
    assert all(size <= tokens or len(batch) == 1 for size, batch in zip(padded, batches, strict=True))
    assert np.mean(padded) > 0.7 * min(tokens, int(LENGTHS.max()) * len(INDICES))


@pytest.mark.parametrize("tokens", [0, 300])
def test_steps_are_counted_over_all_epochs(tokens: int) -> None:
    schedule = BatchSampler(INDICES, LENGTHS, epochs=3, batch_size=64, batch_tokens=tokens, seed=0)
    counts = [len(schedule.batches(epoch)) for epoch in range(3)]
    assert schedule.num_steps == sum(counts)
    assert [schedule.first_step(epoch) for epoch in range(3)] == [0, counts[0], counts[0] + counts[1]]
    assert [schedule.epoch_of(step) for step in (0, counts[0] - 1, counts[0], sum(counts) - 1)] == [0, 0, 1, 2]


def test_bucketed_batches_are_shuffled() -> None:
    means = [LENGTHS[batch].mean() for batch in epoch_batches(INDICES, LENGTHS, 16, seed=0, epoch=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


def test_in_order_batches_contain_every_index_once() -> None:
    assert np.concatenate(in_order(INDICES, None, 10)).tolist() == INDICES.tolist()
    assert sorted(np.concatenate(in_order(INDICES, LENGTHS, 10))) == INDICES.tolist()
    assert in_order(INDICES[:0], LENGTHS, 10) == []


@pytest.mark.parametrize("batch_tokens", [0, 40])
@pytest.mark.parametrize("max_steps", [1, 9, 10, 11, 1000])
def test_max_steps_truncates_the_same_batches(batch_tokens: int, max_steps: int) -> None:
    lengths = np.arange(100) % 7 + 1

    def steps(limit: int) -> list[list[int]]:
        schedule = BatchSampler(
            np.arange(100), lengths, epochs=3, batch_size=10, batch_tokens=batch_tokens, seed=0, max_steps=limit
        )
        found = [batch.tolist() for epoch in range(schedule.num_epochs) for batch in schedule.batches(epoch)]
        assert len(found) == schedule.num_steps
        assert all(schedule.batches(epoch) for epoch in range(schedule.num_epochs))
        return found

    assert steps(max_steps) == steps(0)[:max_steps]
