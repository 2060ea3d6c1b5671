"""Directories and archives are read alike, and nothing of an archive lands anywhere."""

import io
import os
import random
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from downloads import KINDS, packed, read_all, tarred, zipped
from helpers import lay_out, refused, snapshot, start
from sources.archives import open_tree

CONTENTS = {
    "cat/1.png": random.Random(1).randbytes(5000),
    "cat/a name with spaces.png": b"spaces",
    "dog/Hündin.png": b"a" * 3000,
    "dog/deep/er/2.png": b"",
}


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
