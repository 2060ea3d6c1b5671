"""Whatever is in params.yaml, reading it ends in valid parameters or in an error of single lines.

500 examples, always the same; PARAMS_EXAMPLES=20000 tries as many others.
"""

import copy
import datetime
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torchvision  # noqa: F401 - its import would be counted as reading
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from common.errors import UserError
from common.params import Params, load_params
from common.yaml12 import read_yaml
from helpers import ROOT

EXAMPLES = os.environ.get("PARAMS_EXAMPLES")
TEXT = (ROOT / "params.yaml").read_text()
CONTENT = read_yaml(ROOT / "params.yaml")
# What YAML, pydantic, DVC or a terminal takes for more than text.
PARTS = [
    *("&a ", "*a", "*b", "<<: *a", "[*a, *a]", "&a [*a]", "{a: &a 1, b: *a}"),
    *(
        "!!int ",
        "!!float ",
        "!!bool ",
        "!!null ",
        "!!str ",
        "!!seq ",
        "!!map ",
        "!!set ",
        "!!omap ",
    ),
    *(
        "!!timestamp ",
        "!!binary ",
        "!!pairs ",
        "!!python/name:os.system ",
        "!x ",
        "!<",
        "%YAML 1.1\n",
    ),
    *(
        "? ",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "|\n",
        ">\n",
        "#",
        "---\n",
        "...\n",
        "\\",
    ),
    *("\t", "\r", "\n", " ", "      ", "\x00", "\x1b[2J", "\x85", "\u2028", "\ufeff", "\u202e"),
    *("ü", "🙂", "￿", "${train.seed}", "[key]", ".", "=", "~", "null", "yes", "0x10", "1e400"),
    *("9" * 400, "9" * 5000, "1." + "9" * 400, "-", "1_0", ".inf", "-.nan", "2001-01-01", "1:30"),
    *("a" * 3000, "[" * 300, "{a: " * 300, "- " * 1000, "network: lenet", "crop_padding: 4"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1025, 2**63, 10**9 + 1, 10**399, -(10**399), 10**4000]),
    st.floats(),
    st.text(max_size=8),
    st.text(alphabet="\x00\x07\x1b\x85\u2028\u202e\ud800\udfff:{}[]$.&*!|>'\"%@`\\", max_size=6),
    st.sampled_from(
        ["lenet", "sgd", "muon", "torchvision", "resnet18", "auto", "never", "(", "[a"]
    ),
    st.binary(max_size=4),
    st.dates(),
    st.just(datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)),
    st.just({1, 2}),
    st.just((1, 2)),
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


def sections(content: Any) -> list[Any]:
    """Every mapping and every list in it, once."""
    found = {id(content): content}
    queue = [content]
    while queue:
        section = queue.pop()
        for value in section.values() if isinstance(section, dict) else section:
            if isinstance(value, dict | list) and id(value) not in found:
                found[id(value)] = value
                queue.append(value)
    return list(found.values())


@st.composite
def changed_content(draw: st.DrawFn) -> str:
    """Change values, keys and their number, and write it as PyYAML does."""
    content = copy.deepcopy(CONTENT)
    for _ in range(draw(st.integers(1, 4))):
        section = draw(st.sampled_from([each for each in sections(content) if each]))
        keys = list(section) if isinstance(section, dict) else range(len(section))
        key, kind = draw(st.sampled_from(list(keys))), draw(st.integers(0, 9))
        if kind < 6:
            section[key] = draw(ANY)
        elif kind == 6:
            section[key] = draw(st.sampled_from(sections(content)))  # an alias, maybe of itself
        elif kind == 7:
            del section[key]
        elif isinstance(section, dict):
            new = draw(st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.none()))
            section[new] = section.pop(key) if kind == 8 else draw(ANY)
        else:
            section.extend([section[key]] * draw(st.sampled_from([1, 2, 2000])))
    flow, unicode = draw(st.sampled_from([None, True, False])), draw(st.booleans())
    return yaml.dump(content, default_flow_style=flow, allow_unicode=unicode, sort_keys=False)


@st.composite
def changed_text(draw: st.DrawFn) -> str:
    """Insert, replace, repeat and remove pieces of the file as it is in the repository."""
    lines = TEXT.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at, kind = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, 7))
        line = lines[at]
        column, part = draw(st.integers(0, len(line))), draw(st.sampled_from(PARTS))
        if kind < 3:
            lines[at] = line[:column] + part + line[column:]
        elif kind == 3:
            name, colon, _ = line.partition(": ")
            lines[at] = f"{name}{colon}{part}\n"
        elif kind == 4:
            lines[at] = line * 2
        elif kind == 5:
            del lines[at]
        elif kind == 6:
            lines[at] = line[draw(st.integers(0, 6)) :]
        else:
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
    return "".join(lines)


@st.composite
def any_bytes(draw: st.DrawFn) -> bytes:
    """Anything, or the file with a few bytes replaced, which need not be UTF-8."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    content = bytearray(TEXT.encode())
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


TEXTS = st.one_of(changed_content(), changed_text())
CONTENTS = st.one_of(
    *[TEXTS.map(lambda text: text.encode(errors="surrogatepass"))] * 4, any_bytes()
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations") / "params.yaml"


@settings(
    max_examples=int(EXAMPLES or 500),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(content=CONTENTS)
def test_any_file_is_valid_or_an_error_of_single_lines(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    began = time.process_time()
    try:
        params = load_params(path)
    except UserError as error:
        event("refused")
        assert error.args
        for line in error.args:
            assert line.startswith(f"{path}: ")
            assert len(line.splitlines()) == 1
            assert len(line) < 3000
            line.encode()
    else:
        event("accepted")
        assert params.recipe in params.recipes.values()
        # DVC, which decides by its own reading what has changed, reads the same.
        assert Params.model_validate(YAML(typ="safe").load(content)) == params
    assert time.process_time() - began < 1
