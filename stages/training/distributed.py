"""Data-parallel training: every rank takes its shard of each batch, and all ranks take the same
steps.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from common.errors import UserError
from common.recipes import Recipe

Value = TypeVar("Value")
TIMEOUT = timedelta(minutes=10)  # longer than any rank works between two collectives


@dataclass(frozen=True)
class ProcessGroup:
    """The ranks that train together, seen from one of them; by default a process alone.

    Its collectives do nothing in a process alone. Rank 0 writes files and prints.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # among the ranks of this machine
    launched: bool = False  # by torch's launcher
    parent: int = field(default_factory=os.getppid)  # process id

    @property
    def orphaned(self) -> bool:
        """True if the launcher died; the worker must then stop."""
        return self.launched and os.getppid() != self.parent

    def shard(self, indices: Tensor) -> Tensor:
        """Return this rank's part of (n,); the parts differ by one element at most and make up the
        whole.
        """
        return indices if self.world_size == 1 else indices.tensor_split(self.world_size)[self.rank]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the ranks, in place."""
        if self.world_size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients of parameters over the ranks, in place, all in one tensor.

        DistributedDataParallel does it in an order that it settles in its first steps; a resumed
        training would need a step without effect to end in the same bytes.
        """
        if self.world_size > 1:
            gradients = []
            for each in parameters:
                if each.requires_grad:
                    each.grad = torch.zeros_like(each) if each.grad is None else each.grad
                    gradients.append(each.grad)
            together = self.all_reduce(torch.cat([each.flatten() for each in gradients]))
            parts = torch.split(together, [each.numel() for each in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def all_reduce_max(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        if self.world_size == 1:
            return number
        numbers = torch.tensor(number)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return int(numbers)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast tensors from rank 0, in place."""
        for tensor in tensors if self.world_size > 1 else ():
            distributed.broadcast(tensor, src=0)

    def broadcast_object(self, value: Value) -> Value:
        """Broadcast a Python object from rank 0."""
        if self.world_size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def check_agreement(self, fingerprint: dict[str, str]) -> None:
        """Check that all ranks have the same parameters, data and code.

        Raises:
            UserError: A rank differs from rank 0.
        """
        if self.world_size == 1:
            return
        fingerprints: list[dict[str, str]] = [{}] * self.world_size
        distributed.all_gather_object(fingerprints, fingerprint)
        for rank, found in enumerate(fingerprints):
            different = [name for name in fingerprint if found[name] != fingerprints[0][name]]
            if different:
                raise UserError(
                    f"rank {rank} differs from rank 0 in {', '.join(different)}; "
                    "give all machines the same files and parameters"
                )


@contextmanager
def connected(group: ProcessGroup, device: torch.device) -> Iterator[None]:
    """Initialize torch's process group, and destroy it at the end.

    Raises:
        UserError: The device cannot be used by several ranks, a rank does not arrive within
            ``TIMEOUT``, or one has died.
    """
    if group.world_size == 1:
        yield
        return
    if device.type == "mps":
        raise UserError(
            f"there are {group.world_size} processes, but mps works for one alone; "
            "set machine.device to cpu"
        )
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=TIMEOUT)
        yield
    except RuntimeError as error:
        # Gloo has no exception type of its own, but its messages name its source files.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UserError(
            f"rank {group.rank} of {group.world_size} lost another rank ({reason}); "
            "see why that one ended, then run the same command again"
        ) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def check_shards(group: ProcessGroup, recipe: Recipe, batch: int, validation: int) -> None:
    """Check that every rank gets images of the smallest batch, and of the validation set if there
    is one.

    Raises:
        UserError: There are too few images for so many ranks.
    """
    minimum = 1 if recipe.network.name == "lenet" else 2  # batch norm needs two
    for images, needed, what in [
        (batch, minimum, "a batch of"),
        (validation or group.world_size, 1, "a validation set of"),
    ]:
        if images < needed * group.world_size:
            raise UserError(
                f"{group.world_size} processes for {what} {images} images; "
                f"each needs {needed} or more: choose fewer processes or a larger batch_size"
            )
