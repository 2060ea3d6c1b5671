"""How the ranks of a training are started and find each other.

``machine.processes`` starts them on this machine by torch's own launcher. A process that torchrun,
Slurm's srun or Kubernetes' PyTorchJob started reads its rank from the environment.
"""

import logging
import os
import signal
import subprocess
import sys

import torch

from common.errors import UserError
from common.params import Machine
from training.distributed import ProcessGroup

SLURM = {
    "RANK": "SLURM_PROCID",
    "WORLD_SIZE": "SLURM_STEP_NUM_TASKS",
    "LOCAL_RANK": "SLURM_LOCALID",
}


def find_process_group() -> ProcessGroup | None:
    """Return the process group that this process was started in; None if it was started alone.

    Raises:
        UserError: The address of rank 0 is unknown.
    """
    environment = os.environ
    # srun sets this in the processes that it starts, and nowhere else; one of them may be torchrun,
    # which sets its own.
    if "RANK" not in environment and int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        translate_slurm()
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    if environment["WORLD_SIZE"] != "1" and "MASTER_ADDR" not in environment:
        raise UserError(
            "RANK and WORLD_SIZE are set, but not MASTER_ADDR; set it to the machine of rank 0"
        )
    return ProcessGroup(
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", 0)),
        launched="TORCHELASTIC_RUN_ID" in environment,
    )


def translate_slurm() -> None:
    """Set torch's environment variables from those of srun."""
    environment = os.environ
    environment |= {name: environment[source] for name, source in SLURM.items()}
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = first_slurm_host(environment["SLURM_STEP_NODELIST"])
    # Each job step gets another port.
    step = int(environment["SLURM_JOB_ID"]) + 1000 * int(environment["SLURM_STEP_ID"])
    environment.setdefault("MASTER_PORT", str(20_000 + step % 10_000))


def first_slurm_host(hosts: str) -> str:
    """Return the first host of a Slurm list such as node[07-09]."""
    try:
        command = ["scontrol", "show", "hostnames", hosts]
        names = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"scontrol cannot tell the first of {hosts} ({error}); set MASTER_ADDR to its name"
        ) from None
    return names.stdout.split()[0]


def count_processes(machine: Machine) -> int:
    """Return how many ranks to start on this machine.

    Raises:
        UserError: There are fewer GPUs, or this is Windows.
    """
    gpus = torch.cuda.device_count() if machine.device in ("auto", "cuda") else 0
    if machine.processes == "auto":
        return max(1, gpus)
    if machine.processes > 1 and os.name == "nt":
        raise UserError(
            f"machine.processes is {machine.processes}, which torch cannot start on Windows; "
            "choose 1"
        )
    if 0 < gpus < machine.processes:
        raise UserError(
            f"machine.processes is {machine.processes}, but this machine has {gpus} GPUs; "
            "choose auto"
        )
    return machine.processes


def launch(script: str, processes: int) -> None:
    """Start ``processes`` ranks of a script on this machine. If one fails, end the others and exit
    with its status.

    Raises:
        UserError: A rank was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
    logging.disable()  # the launcher's messages; the ranks print their own
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
        statuses = {rank: failure.exitcode for rank, failure in error.failures.items()}
        report_killed(statuses, processes)
        sys.exit(max(statuses.values()))


def report_killed(statuses: dict[int, int], processes: int) -> None:
    """Raise UserError if a rank was killed by another signal than SIGTERM, by which the launcher
    ends the others.
    """
    for rank, status in statuses.items():
        if status < 0 and -status != signal.SIGTERM:
            raise UserError(
                f"rank {rank} of {processes} was killed by {signal.Signals(-status).name}, so all "
                "were ended; run the same command again to resume"
            )
