"""Directories and archives are read alike, and nothing of an archive lands anywhere."""

import io
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from downloads import KINDS, PACK, packed, tarred, zipped
from helpers import lay_out, refused, snapshot, start
from sources import packed as members
from sources.archives import open_tree

CONTENTS = {
    "cat/1.png": random.Random(1).randbytes(5000),
    "cat/a name with spaces.png": b"spaces",
    "dog/Hündin.png": b"a" * 3000,
    "dog/deep/er/2.png": b"",
}


def read_all(path: Path) -> dict[str, bytes]:
    with open_tree(path) as tree:
        return {name: tree.read(name) for name in tree}


def test_a_directory_is_read_by_names_in_order(tmp_path: Path) -> None:
    lay_out(tmp_path / "images", CONTENTS)
    contents = read_all(tmp_path / "images")
    assert contents == CONTENTS
    assert list(contents) == sorted(CONTENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read_as_the_directory_in_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"images of 2024.{kind}"
    path.write_bytes(packed(kind, dict(reversed(CONTENTS.items()))))
    contents = read_all(path)
    assert contents == CONTENTS
    assert list(contents) == sorted(CONTENTS)
    assert list(tmp_path.iterdir()) == [path]


def test_members_are_read_again_and_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(packed("tar.xz", CONTENTS))
    with open_tree(tmp_path / "a.tar.xz") as tree:
        for name in [*tree, *sorted(tree, reverse=True)]:
            assert tree.read(name) == CONTENTS[name]


def test_a_tar_of_the_current_folder_has_plain_names(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(
        tarred(CONTENTS, prefix="./")
    )  # as `tar -cf a.tar .` writes it
    assert read_all(tmp_path / "a.tar") == CONTENTS


def with_tar_member(path: Path, name: str, kind: bytes, link: str = "") -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        archive.addfile(member)


def with_zip_member(path: Path, name: str, kind: int) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("placeholder")
        member.filename = name  # past the constructor, which would put a backslash right on Windows
        member.create_system, member.external_attr = 3, (kind | 0o644) << 16
        archive.writestr(member, b"../outside")


OUTSIDE = [
    "../evil",
    "cat/../../evil",
    "/evil",
    "C:/evil",
    "C:evil",
    "C:\\evil",
    "..\\evil",
    "\\evil",
    "..",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(packed(kind, CONTENTS))
    with_zip_member(path, name, stat.S_IFREG) if kind == "zip" else with_tar_member(
        path, name, tarfile.REGTYPE
    )
    before = snapshot(tmp_path)
    line = refused(lambda: read_all(path))
    assert repr(name) in line
    assert "leads outside" in line
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
def test_a_link_or_a_device_in_a_tar_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tarred(CONTENTS))
    with_tar_member(path, "cat/odd", getattr(tarfile, kind), link="cat/1.png")
    assert "'cat/odd' is a link or a device" in refused(lambda: read_all(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFCHR", "S_IFBLK", "S_IFIFO", "S_IFSOCK"])
def test_a_link_or_a_device_in_a_zip_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(CONTENTS))
    with_zip_member(path, "cat/odd", getattr(stat, kind))
    assert "'cat/odd' is a link or a device" in refused(lambda: read_all(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.timeout(20)  # reading a pipe waits forever
@pytest.mark.parametrize(
    "make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("nowhere")]
)
def test_what_is_no_file_in_a_directory_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(lay_out(tmp_path, CONTENTS) / "cat" / "odd")
    assert "cat/odd" in refused(lambda: read_all(tmp_path))


def test_a_link_to_a_folder_is_not_silently_left_out(tmp_path: Path) -> None:
    lay_out(tmp_path / "images", CONTENTS)
    lay_out(tmp_path / "elsewhere", {"1.png": b"owl"})
    (tmp_path / "images" / "owl").symlink_to(tmp_path / "elsewhere")
    assert "owl" in refused(lambda: read_all(tmp_path / "images"))


def test_a_link_to_a_file_in_a_directory_is_read(tmp_path: Path) -> None:
    lay_out(tmp_path / "images", CONTENTS)
    lay_out(tmp_path / "elsewhere", {"1.png": b"owl"})
    (tmp_path / "images" / "cat" / "3.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    assert read_all(tmp_path / "images") == CONTENTS | {"cat/3.png": b"owl"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_short_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    whole = packed(kind, CONTENTS)
    end = (
        whole.rstrip(b"\0") if kind == "tar" else whole
    )  # a tar ends in zeros, of which two blocks are enough
    for length in [0, 1, 100, 512, 1024, *range(0, len(end), max(1, len(end) // 25)), len(end) - 1]:
        path.write_bytes(whole[:length])
        assert str(path) in refused(lambda: read_all(path)), length


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_with_a_wrong_byte_is_refused_or_reads_the_same(
    tmp_path: Path, kind: str
) -> None:
    """Some bytes mean nothing, such as a date; a plain tar has no checksum of its contents."""
    path = tmp_path / f"a.{kind}"
    whole = packed(kind, CONTENTS)
    lines = 0
    for position in random.Random(0).sample(range(len(whole)), 300):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            contents = read_all(path)
        except UserError as error:  # and no other, whatever went wrong
            assert str(path) in str(error)
            assert "\n" not in str(error)
            lines += 1
        else:
            assert list(contents) == sorted(CONTENTS)
            assert kind == "tar" or contents == CONTENTS
    assert lines > 10


def test_a_damaged_header_in_the_middle_of_a_tar_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    whole = tarred(CONTENTS)
    position = whole.index(b"cat/a name")
    path.write_bytes(whole[:position] + b"\xff" + whole[position + 1 :])
    assert "damaged" in refused(lambda: read_all(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_file_with_an_archives_name_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_text("<html>Log in to the network</html>")
    assert f"{path}: a damaged archive" in refused(lambda: read_all(path))


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    whole = bytearray(zipped({"cat/1.png": b"secret"}, folders=False))
    whole[6] |= 1  # the flag of an encrypted member, in its header and in the directory
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    assert "cat/1.png" in refused(lambda: read_all(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_two_members_of_one_name_the_later_counts_as_when_it_is_unpacked(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(packed(kind, CONTENTS))
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("cat/1.png", b"later")
    else:
        with tarfile.open(path, "a") as tar:
            member = tarfile.TarInfo("./cat/1.png")
            member.size = 5
            tar.addfile(member, io.BytesIO(b"later"))
    assert read_all(path) == CONTENTS | {"cat/1.png": b"later"}


def test_names_that_are_not_unicode_are_kept(tmp_path: Path) -> None:
    """Which a file system and a tar may hold: cat in Latin-1 is not UTF-8."""
    contents = {
        b"k\xe4tzchen/1.png".decode(errors="surrogateescape"): b"1",
        "\uffee/1.png": b"2",
        "cat/1.png": b"3",
    }
    (tmp_path / "a.tar").write_bytes(tarred(contents))
    found = read_all(tmp_path / "a.tar")
    assert found == contents
    assert list(found) == sorted(contents)


def test_no_room_for_the_names_of_many_files_is_one_line(tmp_path: Path) -> None:
    lay_out(tmp_path / "many", {f"{number:0200}": b"" for number in range(12_000)})
    code = (
        "import resource\nfrom pathlib import Path\nfrom sources.archives import open_tree\n"
        "from common.stage import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "def main():\n    with open_tree(Path('many')) as tree: print(len(tree))\n"
        "run(main)"
    )
    process = start(code, tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: many: the list of its files: .*; make room where temporary files go\n", errors
    )


def test_an_unknown_kind_names_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "images.rar"
    path.write_bytes(b"Rar!")
    line = refused(lambda: read_all(path))
    assert str(path) in line
    assert all(kind in line for kind in [".zip", ".tar", ".gz", ".xz"])


@pytest.mark.parametrize("name", ["images", "images.zip", "images.tar.xz"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    assert refused(lambda: read_all(tmp_path / name)).startswith(f"{tmp_path / name}: no such file")


@pytest.mark.timeout(20)  # reading a pipe waits forever
@pytest.mark.parametrize("name", ["pipe", "pipe.zip", "pipe.tar", "pipe.tar.gz", "device.tar"])
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.symlink_to("/dev/zero") if name == "device.tar" else os.mkfifo(path)
    assert f"{path}: a pipe or a device" in refused(lambda: read_all(path))


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
    path.write_bytes(packed(kind, CONTENTS))
    monkeypatch.setattr(members.Tar if kind == "tar" else members.Zip, "read", no_memory)
    assert f"{path}: 'cat/1.png': not enough memory" in refused(lambda: read_all(path))
