"""Trainings that start at once, because they are forked from a process that has imported torch."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from helpers import STAGES

CHECKPOINT = "models/resume.state"
OUTPUTS = ("models/classifier.safetensors", "reports/history.csv")

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX's signals and fork")

# For each line of standard input, train in one process per environment, and send one of them the
# signal after so many seconds or with the next checkpoint. Answer with a line of process ids and a
# line of exit statuses. A training that has not ended after two minutes is killed.
SERVER = """
import json, os, signal, sys, time
import train
from common.stage import run

def train_and_exit(index, folder, environment):
    os.chdir(folder)
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(f"{name}.{index}", flags), number)
    status = 0
    try:
        run(train.main)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr, flush=True)
    os._exit(status)

def saved(checkpoint):
    try:
        return os.stat(checkpoint).st_mtime_ns
    except FileNotFoundError:
        return 0

print("ready", flush=True)
for line in sys.stdin:
    task, running, statuses = json.loads(line), [], {}
    checkpoint = os.path.join(task["folder"], task["checkpoint"])
    before = task["saved"]
    for index, environment in enumerate(task["environments"]):
        if (pid := os.fork()) == 0:
            train_and_exit(index, task["folder"], environment)
        running.append(pid)
    print(json.dumps({"processes": running}), flush=True)
    order, victim = list(running), running[task["rank"]]
    began, sent = time.monotonic(), task["signal"] is None
    while running:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.remove(pid)
                statuses[pid] = os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - began
        if victim in running and not sent:
            if task["seconds"] is None:
                sent = saved(checkpoint) > before
            else:
                sent = passed > task["seconds"]
            if sent:
                os.kill(victim, task["signal"])
        if passed > 120:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    print(json.dumps({"statuses": [statuses[pid] for pid in order]}), flush=True)
"""


@dataclass
class Trainings:
    """Trainings in a folder, by one or several processes."""

    server: "subprocess.Popen[str]"
    path: Path

    def run(
        self,
        environments: Sequence[dict[str, str]] = ({},),
        seconds: float | None = None,
        number: int = signal.SIGKILL,
    ) -> list[int]:
        """Train with one process per environment; return their exit statuses.

        Args:
            environments: variables that are added to those of this process.
            seconds: after which the first process is sent a signal.
            number: the signal.
        """
        self.start(environments, None if seconds is None else number, seconds=seconds)
        return self.wait()

    def run_until_saved(
        self, environments: Sequence[dict[str, str]], rank: int, number: int
    ) -> list[int]:
        """Send that process a signal after the next checkpoint; return the exit statuses."""
        self.start(environments, number, rank)
        return self.wait()

    def start(
        self,
        environments: Sequence[dict[str, str]] = ({},),
        number: int | None = None,
        rank: int = 0,
        seconds: float | None = None,
    ) -> list[int]:
        """Start the processes; return their ids."""
        task = {
            "folder": str(self.path),
            "environments": environments,
            "checkpoint": CHECKPOINT,
            "saved": self.saved,
            "seconds": seconds,
            "rank": rank,
            "signal": number,
        }
        assert self.server.stdin
        print(json.dumps(task), file=self.server.stdin, flush=True)
        return self.answer("processes")

    def wait(self) -> list[int]:
        """Return the exit statuses of the processes that were started last."""
        return self.answer("statuses")

    def answer(self, kind: str) -> list[int]:
        """Return the next answer of this kind; skip those that were not read."""
        assert self.server.stdout
        for line in self.server.stdout:
            if kind in (answer := json.loads(line)):
                numbers: list[int] = answer[kind]
                return numbers
        raise AssertionError("the process that trainings are forked from has ended")

    @property
    def saved(self) -> int:
        """When the checkpoint was saved last, in ns; 0 if there is none."""
        path = self.path / CHECKPOINT
        return path.stat().st_mtime_ns if path.exists() else 0

    def stdout(self, index: int = 0) -> str:
        """Return what the process of the environment with this index printed."""
        return (self.path / f"stdout.{index}").read_text()

    def stderr(self, index: int = 0) -> str:
        """Return the messages of the process of the environment with this index."""
        path = self.path / f"stderr.{index}"
        return path.read_text() if path.exists() else ""

    def outputs(self) -> dict[str, bytes]:
        """Return the bytes of the model and the history."""
        return {name: (self.path / name).read_bytes() for name in OUTPUTS}

    def remove_outputs(self) -> None:
        """Do what DVC does before it runs a stage."""
        for name in OUTPUTS:
            (self.path / name).unlink()


def ranks(world_size: int) -> list[dict[str, str]]:
    """Return the environment of each rank, as torchrun sets it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])  # free, once the server is closed
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world_size)]


def described(model: Path) -> dict[str, Any]:
    """Return what a model file says of itself."""
    with safe_open(model, framework="pt") as file:
        (text,) = file.metadata().values()
    content: dict[str, Any] = json.loads(text)
    return content


@contextmanager
def fork_server() -> Iterator["subprocess.Popen[str]"]:
    """Start the process that trainings are forked from."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env={**os.environ, "PYTHONPATH": str(STAGES), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    assert server.stdout.readline() == "ready\n"  # so that no test times the imports
    try:
        yield server
    finally:
        server.kill()
        server.communicate()
