"""A clone of the working tree in which the pipeline has run."""

import re
from dataclasses import dataclass, field
from typing import Any

from checkout import OUTPUTS, Checkout
from helpers import DIGITS, snapshot, write_params


@dataclass
class Clone(Checkout):
    """A checkout in which the pipeline has run once."""

    ran: list[str] = field(default_factory=list)
    printed: str = ""

    def repro(self) -> list[str]:
        """Names of the stages that ``dvc repro`` ran."""
        self.printed = self.dvc("repro")
        return re.findall(r"Running stage '([\w-]+)'", self.printed)

    def set(self, **changes: dict[str, Any]) -> None:
        """The parameters of the first run, with ``changes``."""
        write_params(self.path, DIGITS, changes)

    def restore(self) -> None:
        self.call("git", "checkout", "-q", "--force", "main")
        self.dvc("checkout", "--force", "--quiet")

    def outputs(self) -> dict[str, bytes]:
        """Every declared output, by path; of a directory its files."""
        return {
            f"{path}/{name}": content
            for path in OUTPUTS
            if (self.path / path).exists()
            for name, content in snapshot(self.path / path).items()
        }
