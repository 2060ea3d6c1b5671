"""How an image file becomes an array."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.arrays import Array
from common.errors import UserError
from common.section import Fit

# Pillow runs Ghostscript on the one and Windows on the other: both are programs rather than pixels.
PROGRAMS = ("EPS", "WMF")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# Sharper filters ring where small JPEGs are enlarged, at the edges of their blocks, which costs
# accuracy (docs/speed.md).
RESAMPLING = Image.Resampling.BILINEAR


class UnreadableError(UserError):
    """A file that cannot become an array; the text is the reason and what to do about it."""


class Opened(NamedTuple):
    """An image file whose header has been read."""

    image: Image.Image
    source_size: tuple[int, int]  # width and height as its header says


def decode_image(content: bytes, size: int, fit: Fit) -> Array:
    """Decode an image file into uint8, (3, size, size), RGB.

    The image is turned as its EXIF orientation says. Transparent parts become white. Of an
    animation the first frame is taken.

    Args:
        content: the bytes of a file of any format that Pillow reads, or of HEIC.
        size: width and height of the result in pixels.
        fit: what is done to an image that is not square, see ``to_square``.

    Raises:
        UnreadableError: The file is no image or is damaged, its pixels are more than an image may
            have, or they have no defined range.
    """
    return decode_opened(open_image(content, size), size, fit)


def open_image(content: bytes, size: int) -> Opened:
    """Read the header of an image file; the pixels are decoded later, by ``decode_opened``.

    A large JPEG gets a draft: it is decoded at a fraction of its size, but at least twice ``size``.

    Raises:
        UnreadableError: as for ``decode_image``.
    """
    with damage_reported():
        try:
            image: Image.Image = Image.open(io.BytesIO(content))
        except UnidentifiedImageError:
            if content[4:8] != b"ftyp" or content[8:12] not in HEIC_BRANDS:
                raise
            register_heic()
            image = Image.open(io.BytesIO(content))
        # Pillow only warns of these; making an error of its warning would not be safe in a thread.
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        if image.format in PROGRAMS:
            raise UnreadableError(f"{image.format} is a program to draw by; save it as PNG")
        source_size = image.size
        image.draft("RGB", (2 * size, 2 * size))
    return Opened(image, source_size)


def decode_opened(opened: Opened, size: int, fit: Fit) -> Array:
    """Decode what ``open_image`` returned into uint8, (3, size, size), RGB.

    Raises:
        UnreadableError: as for ``decode_image``.
    """
    with damage_reported():
        ImageOps.exif_transpose(opened.image, in_place=True)
        return to_array(to_rgb(opened.image), size, fit)


@contextmanager
def damage_reported() -> Iterator[None]:
    """Turn whatever Pillow raises into an UnreadableError.

    Damaged bytes make Pillow raise nearly anything: RuntimeError in AVIF, NotImplementedError in
    DDS, AttributeError in SPIDER, MemoryError in TIFF. So the reason is any exception's text.
    """
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError:
        limit = Image.MAX_IMAGE_PIXELS or math.inf
        raise UnreadableError(f"more than {limit:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise UnreadableError("not an image in a format that Pillow reads") from None
    except MemoryError:
        raise UnreadableError("not enough memory to decode it; make it smaller") from None
    except Exception as error:
        text = re.sub(r" ?<[^<>]* at 0x\w+>", "", str(error)) or type(error).__name__
        raise UnreadableError(f"a damaged image ({' '.join(text.split())})") from None


def register_heic() -> None:
    """Let Pillow read HEIC, which it cannot by itself.

    Raises:
        UnreadableError: pillow-heif is not installed.
    """
    try:
        from pillow_heif import register_heif_opener  # an extra that most do not need
    except ImportError:
        raise UnreadableError(
            "HEIC, which needs an extra; install it: pip install -e '.[heic]'"
        ) from None
    register_heif_opener()


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Raises:
        UnreadableError: The pixels are floating-point numbers.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # 16 bits per pixel: Pillow's own conversion would clip everything above 255 to white.
        grey = (np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise UnreadableError(
            "floating-point pixels have no defined range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        white = Image.new("RGB", image.size, "white")
        shown = image if image.mode == "RGBA" else image.convert("RGBA")
        white.paste(shown, mask=shown)  # half the memory of Image.alpha_composite
        return white
    return image.convert("RGB")


def to_array(image: Image.Image, size: int, fit: Fit = "squash") -> Array:
    """Return an RGB image as uint8, (3, size, size), from (H, W, 3)."""
    return np.asarray(to_square(image, size, fit)).transpose(2, 0, 1)


def to_square(image: Image.Image, size: int, fit: Fit) -> Image.Image:
    """Resize an image to a square of ``size`` pixels.

    ``squash`` scales width and height each by its own factor, ``crop`` takes the largest square in
    the middle, ``pad`` takes the whole image and adds black borders.
    """
    if image.size == (size, size):
        return image
    if fit == "crop":
        return ImageOps.fit(image, (size, size), RESAMPLING)
    if fit == "squash":
        return image.resize((size, size), RESAMPLING)
    scale = size / max(image.size)
    # ImageOps.pad loses an image that would be less than half a pixel wide.
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (size, size))
    inner = image.resize((width, height), RESAMPLING)
    square.paste(inner, ((size - width) // 2, (size - height) // 2))
    return square
