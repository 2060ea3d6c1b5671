"""Random numbers derived from a key such as (seed, epoch), so that any step can be repeated without
those before it.

The keys in use: (seed, epoch) for the order of the images; (seed, epoch, 1) for augmentation, with
epoch 0 for what is drawn once per training; (seed, 0, 2) for the images held out; (seed, epoch, 2,
step, rank) for dropout.
"""

import numpy as np
import torch


def derive_seed(*key: int) -> int:
    """Return a seed in 0..2**63 - 1 that depends on ``key`` alone."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def generator(*key: int) -> torch.Generator:
    """Return a generator on the CPU whose numbers depend on ``key`` alone."""
    return torch.Generator().manual_seed(derive_seed(*key))
