"""Whatever the bytes of an image file, decoding them gives an array or one line for the user.

FUZZ_EXAMPLES, an environment variable, sets how many files the test tries.
"""

import io
import os
import unicodedata
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.errors import UserError
from sources.decode import decode_image

MODES = ["RGB", "L", "P", "1", "RGBA", "CMYK", "I;16", "LA"]
SIZE = 24  # pixels; headers are then a large part of the file
# Damaged headers may promise more pixels than take a moment, which are refused by this number.
MOST_PIXELS = 1_000_000


@cache
def formats() -> dict[str, list[bytes]]:
    """Return a file in each mode that Pillow can write and read again, per format."""
    Image.init()
    noise = Image.effect_noise((SIZE, SIZE), 50)
    found: dict[str, list[bytes]] = {}
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            image = noise.convert("RGB").convert(mode) if mode != "I;16" else noise.convert("I;16")
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind)
                Image.open(buffer).load()
            except (OSError, ValueError, KeyError):  # not in this format
                continue
            found.setdefault(kind, []).append(buffer.getvalue())
    return found


BYTES = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Return a file of any format that was cut, overwritten or repeated in places."""
    kind = draw(st.sampled_from(sorted(formats())))
    content = bytearray(draw(st.sampled_from(formats()[kind])))
    reach = draw(st.sampled_from([40, 200, len(content)]))
    for position, value in draw(
        st.lists(st.tuples(st.integers(0, min(reach, len(content)) - 1), BYTES), max_size=8)
    ):
        content[position] = value
    if draw(st.booleans()):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        to = draw(st.integers(0, len(content)))
        content[to:to] = content[start:end]
    if draw(st.integers(0, 3)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


@pytest.mark.filterwarnings("ignore")
def test_the_formats_that_people_have_are_among_those_that_are_mutated() -> None:
    assert {"BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF"} <= set(
        formats()
    )
    assert len(formats()) > 15


@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it finds
@settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "1500")),
    derandomize=True,  # the same files in every run
    database=None,
    deadline=None,
)
@given(content=damaged_files(), fit=st.sampled_from(["squash", "crop", "pad"]))
def test_a_damaged_image_is_decoded_or_refused_in_one_line(content: bytes, fit: str) -> None:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS
    try:
        with warnings.catch_warnings(action="ignore"):
            pixels = decode_image(content, 8, fit)  # type: ignore[arg-type]
        assert pixels.shape == (3, 8, 8)
        assert pixels.dtype == np.uint8
    except UserError as error:
        assert str(error)
        assert " at 0x" not in str(error)
        # No control characters, halves of surrogate pairs, line or paragraph separators.
        assert not {unicodedata.category(each) for each in str(error)} & {"Cc", "Cs", "Zl", "Zp"}
    finally:
        Image.MAX_IMAGE_PIXELS = limit
