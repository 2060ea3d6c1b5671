"""params.yaml as DVC reads it, and one line for whatever is not a mapping in YAML."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from common.yaml12 import MOST_BYTES, read_yaml
from helpers import ROOT, refused, start

# What a person may write, each a number, a truth, nothing or a word in some version of YAML.
SCALARS = """
1e-3 1.0e-3 0.001 1E5 .5 5. +5 -.5 +.5 .5e5 .5e-5 .5E+5 5.e3 1e+3 1e3 0e0 007e1 01.5 12e03
0.0 -0.0 1e400
true True TRUE tRUE false False FALSE yes Yes no NO on On off OFF y n
~ null Null NULL nULL None
0 -1 +0 -0 00 010 -010 0777 08 1_000 1_0.5 0.1_ 0x1F 0o17 0b1 123456789012345678901234567890
.inf -.inf +.inf .Inf .nan .NaN inf nan -.nan NaN
2001-01-01 2001-01-01T00:00:00Z 1:30 190:20:30 1.2.3 1e 1e3.5 e3 1-1 '1' "2"
"""


def read(content: str | bytes, directory: Path) -> dict[str, Any]:
    path = directory / "params.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path)


@pytest.mark.parametrize("scalar", SCALARS.split())
def test_a_scalar_is_what_dvc_reads_or_a_string_that_no_typed_key_takes(
    scalar: str, tmp_path: Path
) -> None:
    value = read(f"key: {scalar}\n", tmp_path)["key"]
    dvc = YAML(typ="safe").load(f"key: {scalar}")["key"]
    if not isinstance(value, str):
        assert type(value) is type(dvc)
        assert value == dvc or (math.isnan(value) and math.isnan(dvc))
    elif not isinstance(dvc, str):
        # Left as it was written: strict types refuse it where DVC might read a number.
        assert value == scalar


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("0.001", 0.001),
        (".5", 0.5),
        ("-1", -1),
        ("0", 0),
        ("true", True),
    ],
)
def test_numbers_and_truths_are_not_left_as_strings(
    scalar: str, value: object, tmp_path: Path
) -> None:
    found = read(f"key: {scalar}\n", tmp_path)["key"]
    assert found == value
    assert type(found) is type(value)


def test_the_repository_s_file_is_what_dvc_reads() -> None:
    path = ROOT / "params.yaml"
    assert read_yaml(path) == YAML(typ="safe").load(path)


def test_a_few_aliases_are_what_they_repeat(tmp_path: Path) -> None:
    content = "a: &numbers [1, 2]\nb: *numbers\nc: {d: *numbers}\n"
    assert read(content, tmp_path) == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", 3),
        ("a:\n  b: {c: 1, d: 2, c: 3}\n", 2),
        ("a: [{b: 1}, {b: 1, b: 1}]\n", 1),
        ("1: a\n1: b\n", 2),
    ],
)
def test_a_key_given_twice_is_named_with_its_line(content: str, line: int, tmp_path: Path) -> None:
    message = refused(lambda: read(content, tmp_path))
    assert f"params.yaml: line {line}: the key " in message
    assert "is given twice; keep one" in message
    with pytest.raises(YAMLError, match="duplicate key"):  # as DVC sees it
        YAML(typ="safe").load(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds None; it must be a mapping"),
        (b"# only a comment\n", "it must be a mapping"),
        (b"- download\n- train\n", "it must be a mapping"),
        (b"just words", "it must be a mapping"),
        (b"train: [1, 2\n", "not YAML"),
        (b"train: {a: b: c}\n", "not YAML"),
        (b"\tkey: 1\n", "not YAML"),
        (b"a: 1\n---\nb: 2\n", "not YAML"),
        (b"a: *nowhere\n", "not YAML"),
        (b"? [a]\n: 1\n", "not YAML"),
        (b"train: {seed: !!python/object/apply:os.system ['touch ran']}\n", "not YAML"),
        (b"train: {seed: !!int }\n", "not YAML"),
        (b"train: {seed: !!float x}\n", "not YAML"),
        (b"train: {seed: !!bool x}\n", "not YAML"),
        (b"train: {seed: !!timestamp x}\n", "not YAML"),
        (b"train: {seed: " + b"9" * 5000 + b"}\n", "not YAML"),
        ("name: Gänse\n".encode("latin-1"), "not YAML"),
        ("name: x\n".encode("utf-16"), "not YAML"),
        (b"\x00\x01\x02", "not YAML"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_one_line(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reason in refused(lambda: read(content, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_no_file_says_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(lambda: read_yaml(Path("params.yaml")))
    assert f"params.yaml: no such file in {tmp_path}; run from the project's root" in message


def reads_in_time(directory: Path) -> str:
    """Standard error of a process that reads params.yaml with five seconds of a processor."""
    code = "import resource\nfrom common import params, stage\n"
    code += "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\nstage.run(params.load_params)"
    with start(code, directory) as process:
        try:
            error = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode == 1
    assert error.startswith("error: params.yaml: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_not_a_file_is_refused_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    {"pipe": os.mkfifo, "device": lambda at: at.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](
        path
    )
    assert "must be a file" in reads_in_time(tmp_path)


DEEP = {
    "brackets": "a: " + "[" * 100_000,
    "fewer brackets": "a: " + "[" * (MOST_BYTES - 100),
    "braces": "a: " + "{a: " * 10_000,
    "lists": "- " * 20_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_nesting_without_end_is_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(DEEP[kind])
    error = reads_in_time(tmp_path)
    assert "nested too deeply" in error or "more than 50,000 bytes" in error


def multiply(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "content",
    [multiply(9), multiply(30), "a: &a [*a]\n", "a: &a {b: [*a]}\n", "&a [*a, *a]\n"],
    ids=["billions", "more than all memory", "a list in itself", "a mapping in itself", "twice"],
)
def test_aliases_that_multiply_or_never_end_are_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    assert "aliases that multiply" in reads_in_time(tmp_path)


def test_a_file_too_large_to_be_parsed_within_a_second_is_one_line(tmp_path: Path) -> None:
    content = (ROOT / "params.yaml").read_text()
    assert 3 * len(content) < MOST_BYTES
    assert "more than 50,000 bytes" in refused(lambda: read(content + "#" * MOST_BYTES, tmp_path))


def test_a_file_larger_than_memory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    os.truncate(tmp_path / "params.yaml", 10**13)
    assert "more than 50,000 bytes" in reads_in_time(tmp_path)
