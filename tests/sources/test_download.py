"""The stage as a process: killed, twice at once, on a full disk, in little memory."""

import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

from downloads import ARRAYS, below, bring, bring_folder, everything, images, packed, set_params
from helpers import arrays, encode, lay_out, snapshot, solid, start, start_stage, wait_until
from sources.parallel import batches

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and limits")


def test_two_downloads_at_once_give_one_valid_result(mine: Path, project: Path) -> None:
    lay_out(mine, images(cat=200, dog=200))
    set_params(dataset="folder", source=str(mine))
    both = [start_stage("download", project) for _ in range(2)]
    assert [process.communicate()[1][-300:] for process in both if process.wait()] == []
    assert len(everything(arrays(ARRAYS))) == 400
    assert {entry.name for entry in Path("data").iterdir()} == {
        "arrays",
        "download.lock",
        "images",
    }


def test_a_kill_while_converting_leaves_what_was_there(mine: Path, project: Path) -> None:
    bring(dataset="digits")
    before = snapshot(ARRAYS)
    lay_out(mine, images(cat=3, dog=3))
    large = solid((9, 9, 9), size=(1500, 1500))
    lay_out(mine, {f"cat/large {number}.png": large for number in range(60)})
    set_params(dataset="folder", source=str(mine))
    process = start_stage("download", project)
    wait_until(lambda: Path("data/arrays.part/train_images.npy").exists())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Path("data/arrays.part").exists()  # the kill came in the middle
    assert snapshot(ARRAYS) == before
    for number in range(60):
        (mine / "cat" / f"large {number}.png").unlink()
    assert len(everything(bring_folder(mine))) == 6
    assert not Path("data/arrays.part").exists()


def limited(limit: int) -> str:
    """Return code that runs the stage where no file may have more bytes, as on a full disk."""
    return (
        "import resource, download\nfrom common.stage import run\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\nrun(download.main)"
    )


def test_a_full_disk_is_one_line_that_names_the_arrays(mine: Path, project: Path) -> None:
    bring(dataset="digits")
    before = snapshot(ARRAYS)
    lay_out(mine, images(cat=250, dog=250))
    set_params(dataset="folder", source=str(mine))
    for limit in [1000, 50_000]:
        process = start(limited(limit), project)
        _, errors = process.communicate()
        assert process.returncode == 1, limit
        assert "Traceback" not in errors
        assert re.fullmatch(r"error: data/arrays\S*: File too large; .*", errors.splitlines()[-1])
        assert snapshot(ARRAYS) == before
        assert not Path("data/arrays.part").exists()


def test_no_room_to_unpack_an_archive_names_where_temporary_files_go(
    mine: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    noise = encode(Image.effect_noise((200, 200), 50), "BMP")
    path = mine.with_suffix(".tar.gz")
    path.write_bytes(packed("tar.gz", {f"cat/{number}.bmp": noise for number in range(5)}))
    set_params(dataset="folder", source=str(path))
    process = start(limited(100_000), project)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert f"{tmp_path / 'temporary'}: File too large" in errors.splitlines()[-1]


def test_memory_is_bounded_by_bytes_and_not_by_a_number_of_files(mine: Path, project: Path) -> None:
    files = [solid((value, value, value), kind="BMP") + bytes(12_000_000) for value in (1, 2)]
    lay_out(mine, below("train", {"cat/0.bmp": files[0], "dog/0.bmp": files[1]}))
    lay_out(mine, below("test", {"cat/0.bmp": files[0], "dog/0.bmp": files[1]}))
    for number in range(1, 31):  # 60 files of 12 MB, which take the room of four on disk
        for name in ("cat", "dog"):
            folder = mine / "train" / name
            os.link(folder / "0.bmp", folder / f"{number}.bmp")
    set_params(dataset="folder", source=str(mine))
    # A process's peak begins at that of the one that started it, so a small one does that.
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import download; download.main()'], check=True)\n"
        "unit = 1 if sys.platform == 'darwin' else 1024\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit // 10**6)"
    )
    process = start(code, project)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert int(printed.splitlines()[-1]) < 450  # MB; the files are 720


def test_memory_is_bounded_by_the_pixels_in_small_files() -> None:
    content = solid(1, "L", size=(4100, 4100))  # 17 million pixels, which may take 200 MB
    assert len(content) < 50_000
    small = solid(1, "L")
    files = [(number, content if number % 3 else small) for number in range(9)]
    tags = [[tag for tag, _ in batch] for batch in batches(files, 8)]
    assert tags == [[0, 1], [2, 3], [4], [5, 6], [7], [8]]
