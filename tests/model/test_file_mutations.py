"""Whatever is in a model file, loading it gives a classifier or one line for the user.

FUZZ_EXAMPLES, an environment variable, sets how many files each test tries.
"""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from common.errors import UserError
from model.classifier import Classifier
from model.file import METADATA_KEY, load_classifier, save_classifier
from models import LENET, make_description, make_recipe, write

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")),
    derandomize=True,  # the same files in every run
    database=None,
    deadline=None,
)
Json = Any
NAMES = ["lenet", "whitened", "torchvision", "resnet18", "vit_b_16", "raft_large", "sgd", "mirror"]
OF_ONE_TYPE: dict[type, st.SearchStrategy[Json]] = {
    bool: st.booleans(),
    int: st.integers(-2, 40) | st.integers() | st.integers(-(10**400), 10**400),
    float: st.floats(-1, 2) | st.floats(),
    str: st.sampled_from(NAMES) | st.text(max_size=20),
}
SCALARS = st.none() | st.one_of(*OF_ONE_TYPE.values())
VALUES: st.SearchStrategy[Json] = SCALARS | st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
TYPES = ["BOOL", "I8", "U64", "F8_E5M2", "F8_E8M0", "F4", "F16", "BF16", "I32", "F64", "C64"]
WIDTHS = st.lists(st.integers(1, 9) | st.integers(1, 100_000), max_size=4)
OWN = {"channels": WIDTHS, "kernel_size": st.integers(1, 9)}
NETWORKS = st.one_of(
    st.fixed_dictionaries({"name": st.just("lenet"), "hidden": WIDTHS, **OWN}),
    st.fixed_dictionaries({"name": st.just("whitened"), **OWN}),
    st.fixed_dictionaries(
        {
            "name": st.just("torchvision"),
            "model": st.sampled_from(["mnasnet0_5", "vit_b_32", "inception_v3", "maxvit_t", "lr"]),
            "pretrained": st.booleans(),
        }
    ),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small good model file, which stays as it is."""
    path = tmp_path_factory.mktemp("good") / "classifier.safetensors"
    network = {**LENET, "channels": [2], "hidden": [3]}
    save_classifier(Classifier(make_description(make_recipe(network=network))), path)
    return path


def check(path: Path) -> None:
    try:
        assert isinstance(load_classifier(path), Classifier)
    except UserError as error:
        # No control characters, halves of surrogate pairs, line or paragraph separators.
        assert not {unicodedata.category(each) for each in str(error)} & {"Cc", "Cs", "Zl", "Zp"}


def mutate(node: Json, data: st.DataObject) -> Json:
    """Replace, remove or add something at a random place of a JSON value."""
    if not isinstance(node, dict | list) or not node:
        alike = OF_ONE_TYPE.get(type(node), VALUES)
        return data.draw(st.one_of(alike, alike, alike, VALUES))
    node = node.copy()
    key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
    action = data.draw(st.integers(0, 9))
    if action == 9:
        del node[key]
    elif action == 8:
        node[key] = data.draw(VALUES)
    elif action == 7 and isinstance(node, dict):
        node[data.draw(st.text(max_size=8))] = data.draw(VALUES)
    elif action == 7:
        node *= data.draw(st.sampled_from([2, 1000]))
    else:
        node[key] = mutate(node[key], data)
    return node


@fuzzed
@given(st.data())
def test_any_description_gives_a_classifier_or_one_line(good: Path, data: st.DataObject) -> None:
    """With the right checksum, as from somebody who means harm."""
    weights = safetensors.torch.load_file(good)
    with safe_open(good, framework="pt") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    if data.draw(st.booleans()):
        description["recipe"]["network"] = data.draw(NETWORKS)
    for _ in range(data.draw(st.integers(0, 2))):
        description = mutate(description, data)
    path = good.with_name("mutated")
    write(path, weights, description)
    check(path)


@fuzzed
@given(st.data())
def test_any_header_gives_a_classifier_or_one_line(good: Path, data: st.DataObject) -> None:
    """Types, shapes and offsets of the tensors, and other metadata than ours."""
    original = good.read_bytes()
    length = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + length])
    name, other = (data.draw(st.sampled_from(sorted(header))) for _ in range(2))
    match data.draw(st.sampled_from(["type", "exchange", "rename", "shape", "anything"])):
        case "type":
            header[name] = {**header[name], "dtype": data.draw(st.sampled_from(TYPES))}
        case "exchange":
            header[name], header[other] = header[other], header[name]
        case "rename":
            header[data.draw(st.text(max_size=8))] = header.pop(name)
        case "shape":
            header[name] = {**header[name], "shape": header[name].get("shape", [])[::-1]}
        case "anything":
            header = mutate(header, data)
    text = json.dumps(header).encode()
    path = good.with_name("mutated")
    path.write_bytes(len(text).to_bytes(8, "little") + text + original[8 + length :])
    check(path)


@fuzzed
@given(st.lists(st.tuples(st.integers(0), st.binary(max_size=9)), max_size=4), st.integers(0, 5000))
@example([(0, b"\xff" * 8)], 5000)  # a header of 18 exabytes
def test_any_bytes_give_a_classifier_or_one_line(
    good: Path, patches: list[tuple[int, bytes]], length: int
) -> None:
    """Bytes overwritten anywhere, and the file cut off."""
    original = good.read_bytes()
    content = bytearray(original)
    for position, patch in patches:
        start = position % len(content)
        content[start : start + len(patch)] = patch
    path = good.with_name("mutated")
    path.write_bytes(content[:length])
    check(path)
