"""What is kept of every image while duplicates are looked for: 49 bytes, however large it is."""

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.fft import dct

from common.arrays import Array
from common.progress import Progress
from inspection.images import MARGIN, THUMBNAIL, Images, thumbnails

FREQUENCIES = 9  # per direction, from which the 64 lowest of the image are taken
FLAT = 1.0  # standard deviation in grey levels below which a thumbnail counts as of one colour
SHIFTS = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]  # pixels of a thumbnail: down, right


@dataclass(frozen=True)
class Fingerprints:
    """Per image, in the order of ``Images``.

    Attributes:
        digests: of the pixels, uint64 (N,); equal for equal images.
        hashes: of the thumbnail with each of SHIFTS, uint64 (N, 5); similar images differ in few
            bits of one of them from the first of the other.
        flat: whether the image is of one colour, bool (N,); its hashes mean nothing.
    """

    digests: Array
    hashes: Array
    flat: Array


def take_fingerprints(images: Images) -> Fingerprints:
    """Read every image once."""
    count = len(images)
    digests, hashes = np.empty(count, np.uint64), np.empty((count, len(SHIFTS)), np.uint64)
    flat = np.empty(count, bool)
    with Progress(total=count, desc="Inspect", unit="image") as progress:
        for block in images.blocks(np.arange(count)):
            pixels = images.read(block)
            small = thumbnails(pixels)
            digests[block] = digest(pixels)
            flat[block] = small.std(axis=(2, 3)).max(axis=1) < FLAT
            grey = small.mean(axis=1)
            for number, shift in enumerate(SHIFTS):
                hashes[block, number] = perceptual_hash(grey, shift)
            progress.update(len(block))
    return Fingerprints(digests, hashes, flat)


def digest(images: Array) -> Array:
    """Return 64 bits of BLAKE2b of each image's pixels, uint64 (N,)."""
    digests = b"".join(hashlib.blake2b(image, digest_size=8).digest() for image in images)
    return np.frombuffer(digests, np.uint64)


def perceptual_hash(grey: Array, shift: tuple[int, int]) -> Array:
    """Return the signs of the 64 lowest frequencies of grey thumbnails, (N, 32, 32), uint64 (N,).

    Frequencies of the discrete cosine transform of a crop of 30 x 30 pixels, ``shift`` pixels off
    the centre, without the mean, as in pHash (Zauner 2010, "Implementation and Benchmarking of
    Perceptual Image Hash Functions"): brightness and contrast change no sign, noise changes few.
    """
    down, right = map(cosines, shift)
    spectrum = down @ grey @ right.T
    row, column = np.indices((FREQUENCIES, FREQUENCIES))
    lowest = np.argsort((row + column).ravel(), kind="stable")[1:65]
    bits = spectrum.reshape(len(grey), -1)[:, lowest] > 0
    hashes: Array = bits.astype(np.uint64) @ (np.uint64(1) << np.arange(64, dtype=np.uint64))
    return hashes


@cache
def cosines(shift: int) -> Array:
    """Return the lowest frequencies of a crop of a thumbnail's side, float32 (9, 32)."""
    side = THUMBNAIL - 2 * MARGIN
    lowest = dct(np.eye(side), axis=0, norm="ortho")[:FREQUENCIES]
    return np.pad(lowest, ((0, 0), (MARGIN + shift, MARGIN - shift))).astype(np.float32)
