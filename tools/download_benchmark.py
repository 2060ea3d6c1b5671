"""What a throttled mirror costs: two local mirrors, one limited to 60 kB/s and one to 20 MB/s, and 40 MB of data.

    python tools/benchmark.py download

takes under a minute on two cores and needs no network.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "stages"), str(ROOT / "tests")]

from servers import Server, serving  # noqa: E402

from sources.fetch import fetch  # noqa: E402

SIZE = 40_000_000  # bytes
SLOW, FAST = 60e3, 20e6  # bytes per second
HEAD_START = 0.3  # seconds by which the slow mirror answers sooner, in the case that is hardest
RUNS = 3
BOUND = 10.0  # seconds of torchvision's download that are watched


def measure() -> list[dict[str, str | float]]:
    """A row for each way to get the file: what, seconds (the median of the runs), and times the fast mirror alone."""
    content = os.urandom(SIZE)
    rows: list[dict[str, str | float]] = []

    def add(what: str, seconds: float) -> None:
        alone = float(rows[0]["seconds"]) if rows else seconds
        rows.append(
            {
                "what": what,
                "seconds": round(seconds, 2),
                "times the fast one alone": round(seconds / alone, 2),
            }
        )

    with (
        serving(content, rate=SLOW) as slow,
        serving(content, rate=FAST) as fast,
        serving(content, rate=FAST, delay=HEAD_START) as late,
    ):
        add("fast mirror alone", seconds_to_fetch(fast))
        add("fast and slow mirror", seconds_to_fetch(fast, slow))
        add("slow and fast mirror", seconds_to_fetch(slow, fast))
        add(
            f"slow and fast mirror, the slow one answering {HEAD_START} s sooner",
            seconds_to_fetch(slow, late),
        )
        add(
            f"torchvision's download_url, slow mirror (extrapolated from {BOUND:g} s)",
            seconds_of_torchvision(slow),
        )
    return rows


def seconds_to_fetch(*mirrors: Server) -> float:
    sha256 = hashlib.sha256(mirrors[0].content).hexdigest()
    seconds = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            fetch([mirror.url for mirror in mirrors], Path(folder) / "file", sha256, SIZE)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def seconds_of_torchvision(mirror: Server) -> float:
    """Watch it for a while, end it, and extrapolate from the bytes that had arrived."""
    code = "import sys, torchvision; torchvision.datasets.utils.download_url(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        asked = len(mirror.requests)
        process = subprocess.Popen(
            [sys.executable, "-c", code, mirror.url, folder], stderr=subprocess.DEVNULL
        )
        try:
            while len(mirror.requests) == asked:  # until it is imported and asks for the file
                if process.poll() is not None:
                    raise RuntimeError(
                        f"torchvision's download ended with status {process.returncode}"
                    )
                time.sleep(0.01)
            time.sleep(BOUND)
            arrived = sum(file.stat().st_size for file in Path(folder).iterdir())
        finally:
            process.kill()
            process.wait()
    return SIZE / arrived * BOUND
