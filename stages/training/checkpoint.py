"""The checkpoint: the state of an unfinished training, and what it belongs to.

It lies outside every DVC out, since DVC deletes those before a stage runs. Its first 32 bytes are
the SHA-256 of the rest: damage is noticed before anything is read as a pickle, and even then only
tensors and plain values are.
"""

import hashlib
import io
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.arrays import images_path, keys_path, labels_path
from common.errors import UserError
from common.files import remove, sha256, write_bytes
from common.params import Train
from model.classifier import Description
from training.distributed import ProcessGroup
from training.state import TrainingState

CHECKPOINT = Path("models/resume.state")
DIGEST_SIZE = hashlib.sha256().digest_size


@dataclass
class Checkpoint:
    """The file that a training is resumed from, if its fingerprint is the same."""

    fingerprint: dict[str, str]
    minutes: float = 1.0  # between two saves
    path: Path = CHECKPOINT
    saved: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """True if the last save was more than ``minutes`` ago."""
        return time.monotonic() - self.saved > 60 * self.minutes

    def save(self, state: dict[str, Any]) -> None:
        """Write the state whole: a process killed while it writes leaves the previous state."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, buffer)
        content = buffer.getvalue()
        write_bytes(self.path, hashlib.sha256(content).digest() + content)
        self.saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None if there is none.

        If it is damaged or has another fingerprint, print why and return None.

        Raises:
            UserError: There is something else than a file.
        """
        if not self.path.exists():
            return None
        if not self.path.is_file():  # reading a FIFO would wait for ever
            raise UserError(f"{self.path}: not a file; remove it")
        content = self.path.read_bytes()
        digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
        if hashlib.sha256(content).digest() != digest:
            self.refuse("damaged")
            return None
        try:
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            fingerprint, state = dict(saved["fingerprint"]), dict(saved["state"])
        except Exception as error:  # which one depends on the bytes, and its message is long
            self.refuse(f"not a checkpoint ({type(error).__name__})")
            return None
        different = [
            key for key in self.fingerprint if fingerprint.get(key) != self.fingerprint[key]
        ]
        if different:
            self.refuse(f"from a run with other {', '.join(different)}")
            return None
        return state

    def refuse(self, reason: str) -> None:
        """Say why the checkpoint is not used."""
        print(f"{self.path}: {reason}, so training starts anew", file=sys.stderr)

    def remove(self) -> None:
        """Remove the file, after the training that it belongs to has ended."""
        remove(self.path)


def resume(state: TrainingState, checkpoint: Checkpoint, group: ProcessGroup) -> None:
    """Load the checkpoint into the state of every rank, if there is one of this training."""
    saved = group.broadcast_object(checkpoint.load() if group.rank == 0 else None)
    if saved is None:
        return
    try:
        state.load_state_dict(saved)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if group.rank == 0:
            checkpoint.refuse(f"not a state of this training ({error})")
    else:
        if group.rank == 0:
            done = len(state.history.epochs)
            print(f"resuming after epoch {done}, step {state.step}", file=sys.stderr)


def compute_fingerprint(description: Description, options: Train) -> dict[str, str]:
    """Return what a training's result depends on and all ranks must agree on, by names for
    messages.
    """
    return {
        "recipe": description.recipe.model_dump_json(),
        "seed": str(description.seed),
        "validation": f"{options.validation_fraction}, stopping after {options.early_stopping}",
        "classes": ", ".join(description.classes),
        "images": sha256(images_path("train")),
        "labels": sha256(labels_path("train")),
        "keys": sha256(keys_path("train")),
        "initial weights": description.initial_weights or "",
        "code": checksum_of_code(),
        "torch": description.torch,
        "device": description.device,
    }


def checksum_of_code() -> str:
    """Return the SHA-256 of the train stage's script and of every local module imported so far."""
    folder = Path(__file__).parents[1]
    modules: set[Any] = {getattr(module, "__file__", None) for module in sys.modules.values()}
    files = sorted(Path(file) for file in modules if file and Path(file).is_relative_to(folder))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
