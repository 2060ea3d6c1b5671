"""Image files that cannot become arrays are refused with a reason that says what to do."""

import io
import sys
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image, features

from common.arrays import Array
from helpers import encode, refused, solid
from sources.decode import UnreadableError, decode_image

RED = (255, 0, 0)


def decode(content: bytes) -> Array:
    return decode_image(content, 8, "squash")


# --- reasons


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(solid(RED, size=(10, 10))).shape == (3, 8, 8)
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
