from collections.abc import Sequence
from pathlib import Path


def fetch(urls: Sequence[str], path: Path, sha256: str, size: int) -> None: ...
