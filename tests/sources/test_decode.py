"""Any picture becomes uint8 RGB, or is refused; and the arrays are what they say, or are refused."""

import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import encode, refused, solid
from PIL import Image

from common.arrays import load_images
from common.errors import UserError
from sources.decode import decode_picture

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def color_of(content: bytes, size: int = 8) -> tuple[int, ...]:
    """The one colour of a decoded picture."""
    pixels = decode_picture(content, size)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, size, size)
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(int(value) for value in pixels[:, 0, 0])


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encode(image, transparency=1) if transparent else encode(image)


def sixteen_bits(value: int, kind: str = "PNG") -> bytes:
    return encode(Image.fromarray(np.full((8, 8), value, np.uint16)), kind)


def animation() -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in [(0, 0, 255), RED, WHITE]]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("content", "color"),
    [
        (solid((1, 2, 3)), (1, 2, 3)),
        (solid((1, 2, 3), kind="BMP"), (1, 2, 3)),
        (solid((1, 2, 3), kind="TIFF"), (1, 2, 3)),
        (solid((1, 2, 3), kind="WEBP", lossless=True), (1, 2, 3)),
        (solid(77, "L"), (77, 77, 77)),
        (solid(77, "L", "JPEG"), (77, 77, 77)),
        (solid((255, 0, 0, 0), "CMYK", "TIFF"), (0, 255, 255)),  # cyan takes red away
        (solid((0, 0, 0, 255), "CMYK", "TIFF"), BLACK),
        (solid((10, 20, 30, 255), "RGBA"), (10, 20, 30)),
        (solid((10, 20, 30, 0), "RGBA"), WHITE),
        (
            solid((255, 0, 0, 51), "RGBA"),
            (255, 204, 204),
        ),  # a fifth of red, four of white: 0.8 * 255
        (solid((100, 255), "LA"), (100, 100, 100)),
        (solid((100, 0), "LA"), WHITE),
        (solid((0, 51), "LA"), (204, 204, 204)),
        (palette(transparent=False), (10, 20, 30)),
        (palette(transparent=True), WHITE),
        (solid(0, "1"), BLACK),
        (solid(1, "1"), WHITE),
        (sixteen_bits(0), BLACK),
        (sixteen_bits(257 * 100), (100, 100, 100)),
        (sixteen_bits(256), BLACK),  # 1/256 of white; clipped at 255 it would be white
        (sixteen_bits(65535), WHITE),
        (sixteen_bits(257 * 100, "TIFF"), (100, 100, 100)),
        (animation(), (0, 0, 255)),
    ],
)
def test_19_a_picture_of_any_kind_becomes_rgb(content: bytes, color: tuple[int, ...]) -> None:
    assert color_of(content) == color


def test_19_a_cmyk_jpeg_becomes_rgb() -> None:
    assert color_of(solid((0, 0, 0, 0), "CMYK", "JPEG")) == WHITE


def test_channels_rows_and_columns_are_where_they_belong() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    decoded = decode_picture(encode(Image.fromarray(pixels)), 8)
    for row, column, channel in np.ndindex(8, 8, 3):
        assert decoded[channel, row, column] == pixels[row, column, channel]


def test_a_large_picture_is_resized_whole() -> None:
    halves = Image.new("RGB", (600, 200), BLACK)
    halves.paste(WHITE, (300, 0, 600, 200))
    for kind in ["PNG", "JPEG"]:
        decoded = decode_picture(encode(halves, kind), 8)
        assert decoded.shape == (3, 8, 8)
        assert (decoded[:, :, :3] < 10).all()
        assert (decoded[:, :, 5:] > 245).all()


def test_a_large_jpeg_is_close_to_its_exact_resize() -> None:
    ramp = np.linspace(0, 255, 512)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 128.0), axis=-1).astype(
        np.uint8
    )
    decoded = decode_picture(encode(Image.fromarray(pixels), "JPEG", quality=95), 16)
    means = pixels.reshape(16, 32, 16, 32, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(decoded - means).max() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_19_a_picture_is_turned_as_its_exif_says(orientation: int) -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[0, 0], upright[0, 7], upright[7, 0] = RED, (0, 255, 0), (0, 0, 255)
    # EXIF's table: which side of the picture the stored rows and columns begin at.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_picture(encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif), 8)
    assert (decoded.transpose(1, 2, 0) == upright).all()


def test_19_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert color_of(solid(RED, size=(10, 10))) == RED
    for size in [(10, 11), (100, 100)]:  # Pillow itself only warns below twice the limit
        assert "more than 100 pixels" in refused(partial(decode_picture, solid(RED, size=size), 8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a note about these pictures\n",
        b"<html></html>",
        solid(RED)[:40],
        encode(Image.effect_noise((64, 64), 50), "JPEG")[:-500],
        encode(Image.effect_noise((64, 64), 50))[:-500],
        encode(Image.effect_noise((64, 64), 50), "GIF")[:-500],
        encode(Image.effect_noise((64, 64), 50), "WEBP")[:-500],
    ],
)
def test_19_what_is_no_whole_picture_is_refused(content: bytes) -> None:
    assert "not a picture that Pillow can read" in refused(lambda: decode_picture(content, 8))


def test_19_floating_point_pixels_are_refused() -> None:
    content = encode(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF")
    assert "floating-point pixels have no defined range" in refused(
        lambda: decode_picture(content, 8)
    )


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000"]
)
@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it finds
def test_19_a_damaged_picture_is_decoded_or_refused_and_nothing_else(kind: str) -> None:
    whole = encode(Image.effect_noise((16, 16), 50).convert("RGB"), kind)
    dice = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole[: dice.choice([len(whole), dice.randrange(len(whole))])])
        for _ in range(min(3, len(damaged))):
            damaged[dice.randrange(min(len(damaged), 200))] = dice.randrange(256)
        try:
            assert decode_picture(bytes(damaged), 8).shape == (3, 8, 8)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/images with five training and two test pictures of two classes, in a project of its own."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "data" / "images"
    directory.mkdir(parents=True)
    for split, labels in {"train": [0, 1, 1, 0, 1], "test": [1, 0]}.items():
        images = np.random.default_rng(len(labels)).integers(
            0, 256, (len(labels), 3, 4, 4), np.uint8
        )
        np.save(directory / f"{split}_images.npy", images)
        np.save(directory / f"{split}_labels.npy", np.array(labels, np.int64))
    describe(directory)
    return directory


def describe(directory: Path, **changes: Any) -> None:
    counts = {"train": 5, "test": 2}
    says = {
        "name": "x",
        "classes": ["a", "b"],
        "image_size": 4,
        "counts": counts,
        "source": "x",
        "sha256": None,
    }
    (directory / "dataset.json").write_text(json.dumps(says | changes))


def test_a_split_is_read_by_index(directory: Path) -> None:
    images = np.load(directory / "train_images.npy")
    train = load_images("train")
    assert len(train.images) == 5
    assert train.labels.tolist() == [0, 1, 1, 0, 1]
    assert train.dataset.classes == ["a", "b"]
    for indices in [[3, 0, 3], [4], [0, 1, 2, 3, 4]]:
        assert (train.images.read(indices) == images[indices]).all()
        assert (train.images.read(np.array(indices)) == images[indices]).all()
    assert load_images("test").labels.tolist() == [1, 0]


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "dataset.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    line = refused(lambda: load_images("train"))
    assert f"data/images/{name}: no such file; run the download stage first" in line


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "random bytes": lambda content: random.Random(0).randbytes(len(content)),
    "text": lambda _: b"not an array",
    "cut short": lambda content: content[:-1],
    "cut in the header": lambda content: content[:50],
    "a zip's first bytes": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy", "dataset.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(directory: Path, name: str, damage: str) -> None:
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(DAMAGE[damage](content))
    assert "data/images: damaged" in refused(lambda: load_images("train"))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["train_images.npy", "train_labels.npy"])
def test_a_pickle_in_an_array_is_not_unpickled(directory: Path, tmp_path: Path, name: str) -> None:
    np.save(directory / name, np.array([Bomb()] * 5, object), allow_pickle=True)
    assert "data/images: damaged" in refused(lambda: load_images("train"))
    assert not (tmp_path / "exploded").exists()
    np.load(directory / name, allow_pickle=True)  # the bomb is a real one
    assert (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train_images.npy", np.zeros((4, 3, 4, 4), np.uint8)),
        ("train_images.npy", np.zeros((5, 4, 4, 3), np.uint8)),
        ("train_images.npy", np.zeros((5, 3, 8, 8), np.uint8)),
        ("train_images.npy", np.zeros((5, 48), np.uint8)),
        ("train_images.npy", np.zeros((5, 3, 4, 4), np.float32)),
        ("train_images.npy", np.zeros((5, 3, 4, 4), np.int8)),
        ("train_labels.npy", np.zeros(4, np.int64)),
        ("train_labels.npy", np.zeros((5, 1), np.int64)),
        ("train_labels.npy", np.zeros(5, np.int32)),
        ("train_labels.npy", np.zeros(5)),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(
    directory: Path, name: str, content: Any
) -> None:
    np.save(directory / name, content)
    line = refused(lambda: load_images("train"))
    assert f"{content.dtype} {content.shape}" in line
    assert "dataset.json says uint8 (5, 3, 4, 4)" in line


def test_an_array_in_columns_is_refused(directory: Path) -> None:
    images = np.load(directory / "train_images.npy")
    np.save(directory / "train_images.npy", np.asfortranarray(images))
    assert "data/images" in refused(lambda: load_images("train"))


@pytest.mark.parametrize("label", [2, -1, 2**40])
def test_a_label_without_a_class_is_refused(directory: Path, label: int) -> None:
    np.save(directory / "train_labels.npy", np.array([0, 1, label, 0, 1]))
    line = refused(lambda: load_images("train"))
    assert str(label) in line
    assert "2 classes" in line


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": {"train": 6, "test": 2}},
        {"counts": {"test": 2}},
        {"image_size": 8},
        {"image_size": "4"},
        {"classes": ["a"]},
        {"classes": None},
        {"more": 1},
    ],
)
def test_a_description_of_other_arrays_is_refused(directory: Path, changes: dict[str, Any]) -> None:
    describe(directory, **changes)
    assert "run the download stage again" in refused(lambda: load_images("train"))


def test_no_pictures_at_all_are_refused(directory: Path) -> None:
    np.save(directory / "train_images.npy", np.zeros((0, 3, 4, 4), np.uint8))
    np.save(directory / "train_labels.npy", np.zeros(0, np.int64))
    describe(directory, counts={"train": 0, "test": 2})
    assert "data/images" in refused(lambda: load_images("train"))
