"""Image files decoded on all cores, in their order and in bounded memory."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from common.arrays import Array
from common.section import Fit
from sources.decode import Opened, UnreadableError, decode_opened, open_image

AT_A_TIME = 256  # files; reading, decoding and writing in turn for each would be a third slower
HELD_BYTES = 2**28  # of files and of the pixels in them, at a time
BYTES_PER_PIXEL = 12  # measured: RGB 4; turned, or RGBA 8; LA, and integers of 32 bits, 12
THREADS_PAY_FROM = 50_000  # bytes per file; with less, threads mostly wait for each other
Tag = TypeVar("Tag")


class Decoded(NamedTuple):
    """An image file as an array."""

    pixels: Array  # uint8 (3, size, size)
    source_size: tuple[int, int]  # width and height before it was resized, in pixels


class Prepared(NamedTuple):
    """An image file whose header has been read, or why that could not be done."""

    opened: Opened | UnreadableError
    file_bytes: int
    all_bytes: int  # of the file and its pixels


def decode_all(
    files: Iterable[tuple[Tag, bytes | UnreadableError]], size: int, fit: Fit
) -> Iterator[tuple[Tag, Decoded | UnreadableError]]:
    """Decode files in their order; what comes with a file as its tag comes out with its image.

    A file that cannot become an image comes out as the reason for that. Large files are decoded by
    several threads. What is held at a time takes no more than ``HELD_BYTES``, or is one file.
    """

    def finish(prepared: Prepared) -> Decoded | UnreadableError:
        return decode_prepared(prepared.opened, size, fit)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches(files, size):
            tags, prepared = zip(*batch, strict=True)
            large = sum(file.file_bytes for file in prepared) >= THREADS_PAY_FROM * len(batch)
            decoded = pool.map(finish, prepared) if large else list(map(finish, prepared))
            yield from zip(tags, decoded, strict=True)


def batches(
    files: Iterable[tuple[Tag, bytes | UnreadableError]], size: int
) -> Iterator[list[tuple[Tag, Prepared]]]:
    """Yield files with their headers read, as many at a time as may be held."""
    batch: list[tuple[Tag, Prepared]] = []
    held = 0
    for tag, content in files:
        prepared = prepare(content, size)
        if batch and (len(batch) == AT_A_TIME or held + prepared.all_bytes > HELD_BYTES):
            yield batch
            batch, held = [], 0
        batch.append((tag, prepared))
        held += prepared.all_bytes
    if batch:
        yield batch


def prepare(content: bytes | UnreadableError, size: int) -> Prepared:
    if isinstance(content, UnreadableError):
        return Prepared(content, 0, 0)
    try:
        opened = open_image(content, size)
    except UnreadableError as error:
        return Prepared(error, 0, 0)
    pixels = opened.image.width * opened.image.height
    return Prepared(opened, len(content), len(content) + BYTES_PER_PIXEL * pixels)


def decode_prepared(
    opened: Opened | UnreadableError, size: int, fit: Fit
) -> Decoded | UnreadableError:
    if isinstance(opened, UnreadableError):
        return opened
    try:
        return Decoded(decode_opened(opened, size, fit), opened.source_size)
    except UnreadableError as error:
        return error
