"""The state of an unfinished training, on disk, so that a killed run carries on and ends in the same bytes.

It lies outside every DVC out, since DVC deletes those before a stage runs. Its first 32 bytes are the SHA-256 of the
rest: what is damaged is recognised before it is read as a pickle, and even then only tensors and plain values are.
"""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch

from common.files import write_bytes

STATE = Path("models/resume.state")
DIGEST_SIZE = hashlib.sha256().digest_size


def save_state(state: dict[str, Any], belongs_to: dict[str, str], path: Path = STATE) -> None:
    """Write the state whole: a run killed while writing leaves the previous one."""
    buffer = io.BytesIO()
    torch.save({"belongs_to": belongs_to, "state": state}, buffer)
    content = buffer.getvalue()
    write_bytes(path, hashlib.sha256(content).digest() + content)


def load_state(belongs_to: dict[str, str], path: Path = STATE) -> dict[str, Any] | None:
    """Read the state if it is whole and belongs to the same parameters, data and code; otherwise say why not."""
    if not path.exists():
        return None
    content = path.read_bytes()
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        print(f"{path}: damaged, so training starts anew", file=sys.stderr)
        return None
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    other = [name for name in belongs_to if saved["belongs_to"].get(name) != belongs_to[name]]
    if other:
        print(
            f"{path}: from a run with other {', '.join(other)}, so training starts anew",
            file=sys.stderr,
        )
        return None
    state: dict[str, Any] = saved["state"]
    return state
