"""What a throttled mirror costs: 40 MB from two mirrors on this machine, at 60 kB/s and 20 MB/s.

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

from fetching.fetch import fetch
from misbehaving_server import Server, serving

SIZE = 40_000_000  # bytes
SLOW, FAST = 60e3, 20e6  # bytes per second
HEAD_START = 0.3  # seconds by which the slow mirror answers sooner, in the hardest case
RUNS = 3
BOUND = 10.0  # seconds for which torchvision's download is watched
ALONE = "fast mirror alone"


def measure() -> list[dict[str, str | float]]:
    """Return one row per way to get the file.

    Returns:
        For each row: what, the median seconds of the runs, and times the fast mirror alone.
    """
    content = os.urandom(SIZE)
    with (
        serving(content, rate=SLOW) as slow,
        serving(content, rate=FAST) as fast,
        serving(content, rate=FAST, delay=HEAD_START) as late,
    ):
        seconds = {
            ALONE: seconds_to_fetch(fast),
            "fast and slow mirror": seconds_to_fetch(fast, slow),
            "slow and fast mirror": seconds_to_fetch(slow, fast),
            f"slow and fast mirror, the slow one answering {HEAD_START} s sooner": (
                seconds_to_fetch(slow, late)
            ),
            f"torchvision's download_url, slow mirror (extrapolated from {BOUND:g} s)": (
                seconds_of_torchvision(slow)
            ),
        }
    return [
        {
            "what": what,
            "seconds": round(each, 2),
            "times the fast one alone": round(each / seconds[ALONE], 2),
        }
        for what, each in seconds.items()
    ]


def seconds_to_fetch(*mirrors: Server) -> float:
    urls = [mirror.url for mirror in mirrors]
    sha256 = hashlib.sha256(mirrors[0].content).hexdigest()
    seconds = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            fetch(urls, Path(folder) / "file", sha256, SIZE, otherwise="see what happened")
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def seconds_of_torchvision(mirror: Server) -> float:
    """Watch torchvision's download for ``BOUND`` seconds and extrapolate from what has arrived."""
    code = "import sys, torchvision; torchvision.datasets.utils.download_url(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as folder:
        asked = len(mirror.requests)
        process = subprocess.Popen(
            [sys.executable, "-c", code, mirror.url, folder], stderr=subprocess.DEVNULL
        )
        try:
            while len(mirror.requests) == asked:  # until it is imported and asks for the file
                if process.poll() is not None:
                    raise RuntimeError(f"torchvision ended with status {process.returncode}")
                time.sleep(0.01)
            time.sleep(BOUND)
            arrived = sum(file.stat().st_size for file in Path(folder).iterdir())
        finally:
            process.kill()
            process.wait()
    return SIZE / arrived * BOUND
