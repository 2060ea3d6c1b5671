"""Messages on one line that cannot change a terminal, and the choices in them."""

import errno
import io
import os
import unicodedata
from pathlib import Path

import pytest

from common.errors import UserError, choose, explain_failure, printable, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nb\t", r"a\r\nb\t"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b2J\x00", r"\x9b2J\x00"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\udcff", r"\udcff"),
        ("ü ß 日本 🙂 \u00a0 'a' \"b\" \\n", "ü ß 日本 🙂 \u00a0 'a' \"b\" \\n"),
        ("👩\u200d🔬", "👩\u200d🔬"),  # a joiner, which some scripts need too
    ],
)
def test_what_could_change_a_terminal_is_an_escape_sequence(text: str, line: str) -> None:
    assert printable(text) == line
    assert printable(line) == line


def test_no_character_of_unicode_breaks_a_line_or_reverses_it() -> None:
    text = "".join(map(chr, range(0x110000)))
    line = printable(text)
    assert len(line.splitlines()) == 1
    assert len(io.StringIO(line, newline=None).read().splitlines()) == 1
    categories = {unicodedata.category(character) for character in line}
    assert not categories & {"Cc", "Cs", "Zl", "Zp"}
    directions = {unicodedata.bidirectional(character) for character in line}
    assert not directions & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    line.encode()


def test_an_error_s_lines_are_printable_and_stay_apart() -> None:
    error = UserError("first\x1b", "second\nthird")
    assert error.args == (r"first\x1b", r"second\nthird")
    assert str(error) == "first\\x1b\nsecond\\nthird"


def test_a_long_value_is_cut_off() -> None:
    assert shown("a") == "'a'"
    assert shown([0.5] * 4) == "[0.5, 0.5, 0.5, 0.5]"
    assert shown("x" * 10**6).endswith("… (1,000,002 characters)")
    assert len(shown("x" * 10**6)) < 150


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("adam", "did you mean 'adamw'? choose from sgd, adamw, muon"),
        ("SGD", "did you mean 'sgd'? choose from sgd, adamw, muon"),
        ("xyz", "choose from sgd, adamw, muon"),
        ("", "choose from sgd, adamw, muon"),
    ],
)
def test_the_nearest_spelling_is_named_before_the_choices(word: str, answer: str) -> None:
    assert choose(word, ["sgd", "adamw", "muon"]) == answer


def test_the_nearest_spelling_is_named_as_it_is_written() -> None:
    assert choose("cifar10", ["CIFAR10", "digits"]).startswith("did you mean 'CIFAR10'? ")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EINVAL, errno.EBADF, errno.ECHILD, None])
def test_other_errors_of_the_system_are_no_errors_of_the_user(number: int | None) -> None:
    assert explain_failure(OSError(number, "some reason")) is None


def test_both_paths_of_a_failed_rename_are_named(tmp_path: Path) -> None:
    (tmp_path / "full" / "file").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(OSError, match="not empty") as raised:
        os.rename(tmp_path / "other", tmp_path / "full")  # noqa: PTH104 - as a user's file system has it
    explained = str(explain_failure(raised.value))
    assert f"{tmp_path}/other -> {tmp_path}/full: Directory not empty; move away" in explained
