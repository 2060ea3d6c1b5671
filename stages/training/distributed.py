"""Training in several processes: each takes its share of every batch, and all take the same steps.

``machine.processes`` starts them on this machine under torch's own launcher. A process that torchrun, Slurm's srun or
Kubernetes' PyTorchJob has started finds the others by its environment.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from common.errors import UserError
from common.params import Machine

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=10)  # longer than any of them should be busy alone


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this is; one alone unless said otherwise."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine
    launched: bool = False  # by torch's launcher, which ends with its processes
    parent: int = field(default_factory=os.getppid)

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks; of all, one does."""
        return self.rank == 0

    @property
    def orphaned(self) -> bool:
        """Whether the launcher was killed, which cannot be helped but must not leave processes that train on."""
        return self.launched and os.getppid() != self.parent

    def share(self, indices: Tensor) -> Tensor:
        """This process's part of (n,): all are nearly of one size, and together they are the whole."""
        return indices if self.size == 1 else indices.tensor_split(self.size)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """Add the tensors of all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        if self.size == 1:
            return number
        numbers = torch.tensor(number)
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return int(numbers)

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the tensors of the first."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, src=0)

    def from_first(self, value: Value) -> Value:
        """What the first process has."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def check_same(self, what: dict[str, str]) -> None:
        """Wait for all processes, and check that they have the same parameters, pictures, code and so on.

        Raises:
            UserError: one has others than the first.
        """
        if self.size == 1:
            return
        everyone: list[dict[str, str]] = [{}] * self.size
        distributed.all_gather_object(everyone, what)
        for rank, theirs in enumerate(everyone):
            if other := ", ".join(name for name in what if theirs[name] != everyone[0][name]):
                raise UserError(
                    f"process {rank} has other {other} than process 0; give all machines the same"
                )


def find_world() -> World | None:
    """The world that this process was started in; None when it was started alone.

    Raises:
        UserError: it is not known on which machine the first process is.
    """
    environment = os.environ
    # Set by srun in the processes that it starts, and nowhere else; one of them may be torchrun, which sets its own.
    if "RANK" not in environment and int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        slurm = {
            "RANK": "SLURM_PROCID",
            "WORLD_SIZE": "SLURM_STEP_NUM_TASKS",
            "LOCAL_RANK": "SLURM_LOCALID",
        }
        environment |= {name: environment[key] for name, key in slurm.items()}
        if "MASTER_ADDR" not in environment:
            environment["MASTER_ADDR"] = first_slurm_host(environment["SLURM_STEP_NODELIST"])
        step = int(environment["SLURM_JOB_ID"]) + 1000 * int(
            environment["SLURM_STEP_ID"]
        )  # another port for each
        environment.setdefault("MASTER_PORT", str(20_000 + step % 10_000))
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    if environment["WORLD_SIZE"] != "1" and "MASTER_ADDR" not in environment:
        raise UserError(
            "RANK and WORLD_SIZE are set, but not MASTER_ADDR; set it to the machine of process 0"
        )
    return World(
        rank=int(environment["RANK"]),
        size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
        launched="TORCHELASTIC_RUN_ID" in environment,
    )


def first_slurm_host(hosts: str) -> str:
    """The first of Slurm's hosts, which are written like node[07-09]."""
    try:
        command = ["scontrol", "show", "hostnames", hosts]
        names = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - Slurm's own value
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"scontrol cannot tell the first of {hosts} ({error}); set MASTER_ADDR to its name"
        ) from None
    return names.stdout.split()[0]


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Be connected with the other processes.

    Raises:
        UserError: the device cannot be shared so, another process does not come within ``PATIENCE``, or one has ended.
    """
    if world.size == 1:
        yield
        return
    if device.type == "mps":
        raise UserError(
            f"there are {world.size} processes, but mps works for one alone; set machine.device to cpu"
        )
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        yield
    except RuntimeError as error:
        # Gloo has no error of its own: its messages name its files.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UserError(
            f"process {world.rank} of {world.size} has lost another ({reason}); see why that one ended, then run again"
        ) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def count_processes(options: Machine) -> int:
    """How many processes to start on this machine.

    Raises:
        UserError: there are fewer GPUs, or this is Windows.
    """
    gpus = torch.cuda.device_count() if options.device in ("auto", "cuda") else 0
    if options.processes == "auto":
        return max(1, gpus)
    if options.processes > 1 and os.name == "nt":
        raise UserError(
            f"machine.processes is {options.processes}, which torch cannot start on Windows; choose 1"
        )
    if 0 < gpus < options.processes:
        raise UserError(
            f"machine.processes is {options.processes}, but this machine has {gpus} GPUs; choose auto"
        )
    return options.processes


def launch(script: str, processes: int) -> None:
    """Run a script in so many processes on this machine; when one fails, all are ended. Exits with their status.

    Raises:
        UserError: a process was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    logging.disable()  # the launcher's: the processes speak for themselves
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(script)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        failures = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for rank, status in failures.items():
            if status < 0 and -status != signal.SIGTERM:  # with that, the launcher ends the others
                name = signal.Signals(-status).name
                raise UserError(
                    f"process {rank} of {processes} was ended by {name}, so all were; run again, and it carries on"
                ) from None
        sys.exit(max(failures.values()))
