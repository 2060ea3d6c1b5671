"""Whether an image is for testing follows from its content or its group, and from nothing else."""

from collections import defaultdict
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downloads import below, bring_folder, fails, images, in_test
from helpers import encode, lay_out, solid
from sources.keys import group_of, with_singles


def noise(number: int) -> bytes:
    """Return an image of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    return encode(Image.fromarray(pixels), "BMP")


def test_keys_are_hashes_of_the_files(mine: Path) -> None:
    contents = images(cat=5, dog=5)
    lay_out(mine, contents)
    found = bring_folder(mine)
    for split in ("train", "test"):
        assert found[f"{split}_keys"].dtype == np.uint64
        for name, key in zip(found[f"{split}_files"], found[f"{split}_keys"], strict=True):
            digest = blake2b(contents[name], digest_size=8).digest()
            assert int(key) == int.from_bytes(digest, "little")


def test_an_added_image_moves_no_other(mine: Path) -> None:
    contents = {f"cat/{number}.bmp": noise(number) for number in range(700)}
    contents |= {f"dog/{number}.bmp": noise(1000 + number) for number in range(50)}
    lay_out(mine, contents)
    before = in_test(bring_folder(mine))
    for number in range(3):  # of which chance puts some on each side
        lay_out(mine, {f"cat/000 added {number}.bmp": noise(2000 + number)})
        after = in_test(bring_folder(mine))
        assert {name: after[name] for name in before} == before
        assert len(after) == len(before) + 1
        before = after


def test_a_removed_or_renamed_image_moves_no_other(mine: Path) -> None:
    contents = {
        f"{name}/{number}.bmp": noise(number)
        for name, numbers in {"cat": range(100), "dog": range(100, 200)}.items()
        for number in numbers
    }
    lay_out(mine, contents)
    before = in_test(bring_folder(mine))
    (mine / "cat/7.bmp").unlink()
    (mine / "cat/8.bmp").rename(mine / "cat/renamed.bmp")
    (mine / "dog").rename(mine / "hound")
    after = in_test(bring_folder(mine))
    expected = {name.replace("dog/", "hound/"): side for name, side in before.items()}
    del expected["cat/7.bmp"]
    expected["cat/renamed.bmp"] = expected.pop("cat/8.bmp")
    assert after == expected


def test_copies_of_an_image_are_on_the_same_side(mine: Path) -> None:
    contents = {f"cat/{number}.bmp": noise(number) for number in range(60)}
    contents |= {f"cat/{number} copy.bmp": noise(number) for number in range(60)}
    contents |= {f"dog/{number}.bmp": noise(number) for number in range(30, 90)}
    lay_out(mine, contents)
    found = in_test(bring_folder(mine, test_fraction=0.5))
    sides = defaultdict(set)
    for name, content in contents.items():
        sides[content].add(found[name])
    assert len(sides) == 90
    assert {len(each) for each in sides.values()} == {1}
    assert 30 < sum(found.values()) < 120


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_a_class_of_two_images_has_one_in_each_split(mine: Path, fraction: float) -> None:
    lay_out(mine, images(cat=2, dog=2))
    found = bring_folder(mine, test_fraction=fraction)
    for split in ["train", "test"]:
        assert sorted(found[f"{split}_labels"]) == [0, 1]


# --- groups


def scenes(count: int, frames: int) -> dict[str, bytes]:
    """Return images of two classes by names such as cat/scene 3 frame 1.bmp, none like another."""
    return {
        f"{name}/scene {scene} frame {frame}.bmp": noise(1000 * scene + 100 * frame + ord(name[0]))
        for name in ("cat", "dog")
        for scene in range(count)
        for frame in range(frames)
    }


@pytest.mark.parametrize(
    "pattern", [r"scene (\d+)", r"scene \d+", r"(?:cat|dog)/scene (\d+) (frame)"]
)
def test_a_group_is_never_divided(mine: Path, pattern: str) -> None:
    contents = scenes(40, 5)
    lay_out(mine, contents)
    found = bring_folder(mine, group=pattern)
    side = in_test(found)
    for scene in range(40):  # of both classes
        members = [name for name in contents if f"scene {scene} " in name]
        assert len(members) == 10
        assert len({side[name] for name in members}) == 1
    assert 20 < sum(side.values()) < 150
    divided = in_test(bring_folder(mine))
    assert any(
        len({divided[name] for name in contents if f"scene {scene} " in name}) == 2
        for scene in range(40)
    )


def test_keys_are_hashes_of_the_groups(mine: Path) -> None:
    lay_out(mine, scenes(10, 2))
    found = bring_folder(mine, group=r"scene (\d+)")
    for split in ("train", "test"):
        for name, key in zip(found[f"{split}_files"], found[f"{split}_keys"], strict=True):
            digest = blake2b(name.split()[1].encode(), digest_size=8).digest()
            assert int(key) == int.from_bytes(digest, "little")


@pytest.mark.parametrize(
    "pattern", [r"scene \d+ ", r"scene (\d+) ", r"(?<=scene )[0-9]+", "scene 1 |scene .."]
)
def test_the_advised_pattern_keeps_the_groups_and_makes_the_others_groups_of_their_own(
    mine: Path, pattern: str
) -> None:
    singles = {f"cat/single {number}.bmp": noise(number) for number in range(50)}
    lay_out(mine, scenes(10, 4) | singles)
    line = fails(dataset="folder", source=str(mine), group=pattern)
    advised = line.split("a group of its own: ")[1]
    found = bring_folder(mine, group=advised)
    names = found["train_files"] + found["test_files"]
    keys = np.concatenate([found["train_keys"], found["test_keys"]])
    assert len(set(keys.tolist())) == 10 + 50
    assert len({int(key) for name, key in zip(names, keys, strict=True) if "scene 3" in name}) == 1
    for name in names:
        if "scene" in name:
            assert group_of(name, advised) == group_of(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("patient", r"'patient' finds nothing in 10 of 10 names, such as 'cat/000.png'"),
        (r"^cat/(\d+)", r"finds nothing in 5 of 10 names, such as 'dog/000.png'"),
    ],
)
def test_a_pattern_that_finds_nothing_is_an_error_with_an_example(
    mine: Path, pattern: str, message: str
) -> None:
    lay_out(mine, images(cat=5, dog=5))
    line = fails(dataset="folder", source=str(mine), group=pattern)
    assert message in line
    assert line.endswith(f"make each of these a group of its own: {with_singles(pattern)}")


@pytest.mark.timeout(60)
def test_a_pattern_that_takes_for_ever_is_an_error_with_the_name(mine: Path) -> None:
    name = f"cat/{'a' * 100}.png"
    lay_out(mine, images(cat=5, dog=5) | {name: solid(0)})
    line = fails(dataset="folder", source=str(mine), group="(?:a|aa)+$|0")
    assert "(?:a|aa)+$|0" in line
    assert f"takes more than 1 s on {name!r}" in line


def test_one_group_for_all_images_of_a_class_is_an_error(mine: Path) -> None:
    lay_out(mine, images(cat=5, dog=5))
    assert "class cat" in fails(dataset="folder", source=str(mine), group="^cat|^dog")


def test_a_group_that_train_and_test_divide_is_an_error_with_an_example(mine: Path) -> None:
    lay_out(mine, below("train", scenes(4, 2)) | below("test", scenes(2, 3)))
    line = fails(dataset="folder", source=str(mine), group=r"scene \d+")
    assert "2 groups are divided" in line
    assert "'train/" in line
    assert "'test/" in line
    found = bring_folder(mine, group=r"^\w+/\w+/scene \d+")
    assert not set(found["train_keys"].tolist()) & set(found["test_keys"].tolist())
