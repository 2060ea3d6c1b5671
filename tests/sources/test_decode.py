"""Image files of any kind become uint8 RGB, or are refused with a reason that says what to do."""

import io
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image, features

from common.arrays import Array
from common.section import Fit
from helpers import encode, refused, solid
from sources.decode import UnreadableError, decode_image

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


# --- reasons


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert color_of(solid(RED, size=(10, 10))) == RED
    for size in [(10, 11), (100, 100)]:  # Pillow itself only warns below twice the limit
        with warnings.catch_warnings(action="ignore"):
            line = refused(partial(decode, solid(RED, size=size)))
        assert line == "more than 100 pixels; make it smaller"


@pytest.mark.parametrize("content", [b"", b"a note about these images\n", b"<html></html>"])
def test_what_is_no_image_is_refused_without_an_object_s_address(content: bytes) -> None:
    assert refused(lambda: decode(content)) == "not an image in a format that Pillow reads"


NOISE = Image.effect_noise((64, 64), 50)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_half_an_image_is_refused_with_pillow_s_reason(kind: str) -> None:
    line = refused(lambda: decode(encode(NOISE, kind)[:-500]))
    assert line.startswith("a damaged image (")
    assert " at 0x" not in line


def first_that_raises(kind: str, error: type[Exception]) -> bytes:
    """Return a damaged file with which Pillow itself raises this error."""
    content = encode(NOISE.convert("RGB"), kind)
    for position in range(len(content) - 8):
        damaged = content[:position] + b"\0\0\0\0" + content[position + 4 :]
        try:
            Image.open(io.BytesIO(damaged)).load()
        except error:
            return damaged
        except Exception:
            continue
    return pytest.fail(f"no damage makes Pillow raise {error.__name__} in {kind}")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_a_damaged_avif_is_refused_like_any_other() -> None:
    content = first_that_raises("AVIF", RuntimeError)
    assert refused(lambda: decode(content)).startswith("a damaged image (Failed to decode image")


def test_a_damaged_dds_is_refused_like_any_other() -> None:
    content = first_that_raises("DDS", NotImplementedError)
    assert refused(lambda: decode(content)).startswith("a damaged image (Unknown pixel format")


def test_an_error_without_text_is_named_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AttributeError

    monkeypatch.setattr(Image.Image, "draft", fail)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.draft", fail, raising=False)
    assert refused(lambda: decode(solid(RED))) == "a damaged image (AttributeError)"


def test_an_address_of_an_object_is_left_out_of_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError(f"bad {object()!r} in\n{io.BytesIO()!r}")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.draft", fail, raising=False)
    assert refused(lambda: decode(solid(RED))) == "a damaged image (bad in)"


def test_too_little_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    line = refused(lambda: decode(solid(RED)))
    assert line == "not enough memory to decode it; make it smaller"


def test_floating_point_pixels_are_refused() -> None:
    content = encode(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF")
    assert "floating-point pixels have no defined range" in refused(lambda: decode(content))


def test_a_program_to_draw_by_is_refused_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow would run Ghostscript on it, if that is installed."""
    ran: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: ran.append(1))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert "EPS is a program to draw by" in refused(lambda: decode(content))
    assert not ran


# --- HEIC


def test_heic_is_read_if_pillow_heif_is_installed() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    content = pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 30)))
    buffer = io.BytesIO()
    content.save(buffer, format="HEIF", quality=90)
    assert buffer.getvalue()[4:12] == b"ftypheic"
    decoded = decode(buffer.getvalue()).astype(int)
    assert np.abs(decoded - np.array([200, 30, 30])[:, None, None]).max() < 12
    damaged = buffer.getvalue()[:200]
    with pytest.raises(UnreadableError):
        decode(damaged)


def test_heic_without_pillow_heif_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # makes the import fail
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(Image, "ID", [each for each in Image.ID if each != "HEIF"])
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    line = refused(lambda: decode(content))
    assert line == "HEIC, which needs an extra; install it: pip install -e '.[heic]'"
