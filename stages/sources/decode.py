"""How an image file becomes an array."""

import io
import math

import numpy as np
from PIL import Image, ImageOps

from common.arrays import Array
from common.errors import UserError


def decode_picture(content: bytes, size: int) -> Array:
    """Decode a file that Pillow reads into uint8, (3, size, size), RGB.

    Turned as its EXIF orientation says; transparent parts on white; of an animation the first frame.

    Raises:
        UserError: it cannot be decoded, is so large that it may be an attack, or has pixels without a defined range.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        # Pillow only warns of these; turning its warning into an error would not be safe in a thread.
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        image.draft(
            "RGB", (2 * size, 2 * size)
        )  # lets a large JPEG be decoded at a fraction of its size
        return to_array(to_rgb(ImageOps.exif_transpose(image)), size)
    except Image.DecompressionBombError:
        raise UserError(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller or take it out"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(
            f"not a picture that Pillow can read ({error}); repair it or take it out"
        ) from None


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip everything above 255 to white.
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode == "F":
        raise UserError(
            "floating-point pixels have no defined range; save it with 8 or 16 bits, or take it out"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def to_array(image: Image.Image, size: int) -> Array:
    """Resize to a square, whole and uncropped, and bring (H, W, 3) to (3, H, W)."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)
