"""Random numbers that depend on a key alone, such as (seed, epoch): any step can be repeated without those before it."""

import numpy as np
import torch


def derive_seed(*key: int) -> int:
    """A seed that depends on ``key`` alone, such as (seed, epoch)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """Random numbers that depend on ``key`` alone."""
    return torch.Generator().manual_seed(derive_seed(*key))
