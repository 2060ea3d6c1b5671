"""Image files of any kind and shape become uint8 RGB of one size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.arrays import Array
from common.section import Fit
from helpers import STAGES, encode, solid
from sources.decode import decode_image
from sources.parallel import BYTES_PER_PIXEL

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def decode(content: bytes, size: int = 8, fit: Fit = "squash") -> Array:
    pixels = decode_image(content, size, fit)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, size, size)
    return pixels


def color_of(content: bytes) -> tuple[int, ...]:
    """Return the one colour of a decoded image."""
    pixels = decode(content)
    assert (pixels == pixels[:, :1, :1]).all()
    return tuple(int(value) for value in pixels[:, 0, 0])


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encode(image, transparency=1) if transparent else encode(image)


def sixteen_bits(value: int, kind: str = "PNG") -> bytes:
    return encode(Image.fromarray(np.full((8, 8), value, np.uint16)), kind)


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in [(0, 0, 255), RED, WHITE]]
    options = {} if kind == "GIF" else {"lossless": True}
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


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
        (solid((255, 0, 0, 51), "RGBA"), (255, 204, 204)),  # a fifth of red: 0.8 * 255
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
        (animation("GIF"), (0, 0, 255)),
        (animation("WEBP"), (0, 0, 255)),
        (animation("PNG"), (0, 0, 255)),
    ],
)
def test_an_image_of_any_kind_becomes_rgb(content: bytes, color: tuple[int, ...]) -> None:
    assert color_of(content) == color


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    assert color_of(solid((0, 0, 0, 0), "CMYK", "JPEG")) == WHITE


def test_channels_rows_and_columns_are_where_they_belong() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    decoded = decode(encode(Image.fromarray(pixels)))
    for row, column, channel in np.ndindex(8, 8, 3):
        assert decoded[channel, row, column] == pixels[row, column, channel]


# --- size and fit


def bands() -> Image.Image:
    """Return 600 x 200 pixels in three squares: red, green and blue."""
    image = Image.new("RGB", (600, 200), (255, 0, 0))
    image.paste((0, 255, 0), (200, 0, 400, 200))
    image.paste((0, 0, 255), (400, 0, 600, 200))
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_squash_shows_the_whole_image(kind: str) -> None:
    decoded = decode(encode(bands(), kind), 12, "squash").astype(int)
    for band, columns in enumerate([slice(0, 3), slice(5, 7), slice(9, 12)]):
        assert (decoded[band, :, columns] > 230).all()
        assert (np.delete(decoded, band, axis=0)[:, :, columns] < 30).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("upright", [False, True])
def test_crop_shows_the_square_in_the_middle(kind: str, upright: bool) -> None:
    image = bands().transpose(Image.Transpose.ROTATE_90) if upright else bands()
    decoded = decode(encode(image, kind), 12, "crop").astype(int)
    assert (decoded[1, 1:-1, 1:-1] > 230).all()
    assert (decoded[[0, 2], 1:-1, 1:-1] < 30).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("upright", [False, True])
def test_pad_shows_the_whole_image_between_black_borders(kind: str, upright: bool) -> None:
    image = bands().transpose(Image.Transpose.ROTATE_270) if upright else bands()
    decoded = decode(encode(image, kind), 12, "pad").astype(int)
    if upright:
        decoded = decoded.transpose(0, 2, 1)
    assert (decoded[:, :4] == 0).all()
    assert (decoded[:, 8:] == 0).all()
    for band, columns in enumerate([slice(0, 3), slice(5, 7), slice(9, 12)]):
        assert (decoded[band, 5:7, columns] > 230).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (8, 8), (7, 9)])
def test_every_shape_of_image_fits(fit: Fit, size: tuple[int, int]) -> None:
    decoded = decode(solid(WHITE, size=size), 8, fit)
    if fit != "pad" or size in [(1, 1), (8, 8)]:
        assert (decoded == 255).all()
    else:
        assert (decoded == 255).any()
        assert (decoded == 0).any()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_square_image_is_the_same_whatever_the_fit(fit: Fit) -> None:
    noise = encode(Image.effect_noise((64, 64), 50).convert("RGB"))
    assert (decode(noise, 8, fit) == decode(noise, 8, "squash")).all()


def test_a_large_jpeg_is_close_to_its_exact_resize() -> None:
    ramp = np.linspace(0, 255, 512)
    channels = np.broadcast_arrays(ramp[:, None], ramp[None], 128.0)
    pixels = np.stack(channels, axis=-1).astype(np.uint8)
    decoded = decode(encode(Image.fromarray(pixels), "JPEG", quality=95), 16)
    means = pixels.reshape(16, 32, 16, 32, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(decoded - means).max() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int) -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[0, 0], upright[0, 7], upright[7, 0] = RED, (0, 255, 0), (0, 0, 255)
    # EXIF's table: which side of the image the stored rows and columns begin at.
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
    decoded = decode(encode(Image.fromarray(np.ascontiguousarray(stored)), exif=exif))
    assert (decoded.transpose(1, 2, 0) == upright).all()


# Prints by how much decoding a file raises the peak of memory.
MEASURE = """
import re, sys
from pathlib import Path
from sources.decode import decode_image

def peak():
    return 1024 * int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])

content = Path(sys.argv[1]).read_bytes()
before = peak()
decode_image(content, 8, "squash")
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures as Linux does")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "I;16", "I"])
def test_decoding_takes_no_more_memory_than_download_reckons_with(
    tmp_path: Path, mode: str
) -> None:
    """Turned images, since turning takes a copy."""
    turned = Image.Exif()
    turned[274] = 6
    path = tmp_path / "large.tif"
    Image.new(mode, (4000, 4000)).save(path, exif=turned)
    run = [sys.executable, "-c", MEASURE, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(STAGES)}
    output = subprocess.run(run, env=environment, capture_output=True, check=True).stdout
    assert 4000**2 < int(output) <= BYTES_PER_PIXEL * 4000**2 + 2**24
