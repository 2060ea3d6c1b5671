"""Members of archives that hold less, or more, than they say: sparse ones and bombs."""

import io
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from downloads import PACK, images, packed, read_all
from helpers import lay_out, refused, snapshot, start
from sources import packed as members

# --- sparse members


gnu_tar = pytest.mark.skipif(
    not shutil.which("tar")
    or "GNU tar"
    not in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout,
    reason="needs GNU tar",
)


@gnu_tar
@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
    ],
)
@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_sparse_members_of_a_tar_are_read_with_their_holes(
    tmp_path: Path, kind: str, options: list[str]
) -> None:
    """`tar -S` leaves out the zeros that a file's holes are read as."""
    contents = lay_out(tmp_path / "images", {"cat/a.png": b"first", "cat/z.png": b"last" * 500})
    for number, name in enumerate(["cat/b.bmp", "cat/long" + "g" * 120 + ".bmp", "dog/c.bmp"]):
        (contents / name).parent.mkdir(exist_ok=True)
        with (contents / name).open("wb") as file:
            for block in range(60):  # more pieces than one header has room for
                file.seek(block * 100_000 + number)
                file.write(b"%d in block %d" % (number, block))
            file.truncate(6_200_000 + number)
    path = tmp_path / f"a.{kind}"
    flags = ["--sparse", "--hole-detection=raw", *options, *(["-z"] if kind == "tar.gz" else [])]
    subprocess.run(["tar", *flags, "-cf", path, "-C", contents, "cat", "dog"], check=True)
    with tarfile.open(path) as archive:
        assert sum(member.issparse() for member in archive) == 3
    if kind == "tar":
        assert path.stat().st_size < 2_000_000
    assert read_all(path) == snapshot_of_files(contents)


def snapshot_of_files(path: Path) -> dict[str, bytes]:
    return {name: content for name, content in snapshot(path).items() if (path / name).is_file()}


# --- members that are larger than an image


def test_a_member_that_no_image_needs_is_refused_at_its_header(tmp_path: Path) -> None:
    """Its content is not even there, so nothing of it was decompressed."""
    member = tarfile.TarInfo("cat/huge.bmp")
    member.size = 2**29 + 1
    for kind in ("tar", "tar.gz"):
        path = tmp_path / f"a.{kind}"
        path.write_bytes(PACK[kind](member.tobuf() + bytes(20_000)))
        line = refused(lambda path=path: read_all(path))  # type: ignore[misc]
        assert "'cat/huge.bmp' has 536,870,913 bytes, and no image needs more than" in line


def bomb(kind: int, size: int) -> bytes:
    """Return a .zip whose member inflates to ``size`` bytes of zeros."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", kind, compresslevel=1) as archive,
        archive.open("cat/bomb.bmp", "w", force_zip64=True) as file,
    ):
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return buffer.getvalue()


def test_a_member_of_a_zip_that_no_image_needs_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(bomb(zipfile.ZIP_DEFLATED, 2**29 + 2**20))
    assert path.stat().st_size < 2**22
    assert "'cat/bomb.bmp' has 537,919,488 bytes" in refused(lambda: read_all(path))


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_member_that_inflates_beyond_what_the_zip_says_takes_no_memory(tmp_path: Path) -> None:
    """The table of contents says 100 bytes, and the content inflates to 400 MB."""
    content = bytearray(bomb(zipfile.ZIP_DEFLATED, 400 * 2**20))
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 100)
    (tmp_path / "a.zip").write_bytes(content)
    code = (
        "import resource\nfrom pathlib import Path\nfrom sources.archives import open_tree\n"
        "from common.stage import run\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (300 * 2**20, 300 * 2**20))\n"
        "def main():\n    with open_tree(Path('a.zip')) as tree: tree.read('cat/bomb.bmp')\n"
        "run(main)"
    )
    process = start(code, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(r"error: a.zip: a damaged archive: .*cat/bomb.bmp.*\n", errors)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_a_method_that_inflates_without_bounds_is_refused(
    tmp_path: Path, kind: int
) -> None:
    (tmp_path / "a.zip").write_bytes(bomb(kind, 2**20))
    line = refused(lambda: read_all(tmp_path / "a.zip"))
    assert "'cat/bomb.bmp' is not compressed with deflate; pack it again" in line


def test_a_file_that_no_image_needs_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with (tmp_path / "cat" / "huge.bmp").open("wb") as file:
        file.truncate(2**29 + 1)  # a hole, which takes no room
    assert "more than 536,870,912 bytes" in refused(lambda: read_all(tmp_path))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_too_little_memory_for_a_member_is_one_line(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> bytes:
        raise MemoryError

    path = tmp_path / f"a.{kind}"
    path.write_bytes(packed(kind, images(cat=1)))
    monkeypatch.setattr(members.Tar if kind == "tar" else members.Zip, "read", no_memory)
    assert f"{path}: 'cat/000.png': not enough memory" in refused(lambda: read_all(path))
