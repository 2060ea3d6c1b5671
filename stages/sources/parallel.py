"""Image files decoded on all cores, in their order and in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from common.arrays import Array
from common.section import Fit
from sources.decode import Opened, UnreadableError, decode_opened, open_image

HELD_BYTES = 2**28  # of files and of the pixels in them, at a time
BYTES_PER_PIXEL = 8  # Pillow has RGB in 4, twice while it converts or turns an image
THREADS_PAY_FROM = 50_000  # bytes; with smaller files, threads mostly wait for each other
Tag = TypeVar("Tag")


class Decoded(NamedTuple):
    """An image file as an array."""

    pixels: Array  # uint8 (3, size, size)
    source_size: tuple[int, int]  # width and height before it was resized, in pixels


def decode_all(
    files: Iterable[tuple[Tag, bytes | UnreadableError]], size: int, fit: Fit
) -> Iterator[tuple[Tag, Decoded | UnreadableError]]:
    """Decode files in their order; what comes with a file as its tag comes out with its image.

    A file that cannot become an image comes out as the reason for that. Large files are decoded by
    several threads; together, they hold no more than ``HELD_BYTES``, or one file that takes more.
    """
    waiting: deque[tuple[Tag, int, Future[Decoded | UnreadableError]]] = deque()
    held = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for tag, content in files:
            opened, cost = prepare(content, size)
            while waiting and (held + cost > HELD_BYTES or waiting[0][2].done()):
                first, freed, future = waiting.popleft()
                held -= freed
                yield first, future.result()
            if isinstance(content, bytes) and len(content) >= THREADS_PAY_FROM:
                future = pool.submit(finish, opened, size, fit)
            else:
                future = Future()
                future.set_result(finish(opened, size, fit))
            waiting.append((tag, cost, future))
            held += cost
        for tag, _, future in waiting:
            yield tag, future.result()


def prepare(content: bytes | UnreadableError, size: int) -> tuple[Opened | UnreadableError, int]:
    """Read a file's header; return the bytes that it takes with its pixels, too."""
    if isinstance(content, UnreadableError):
        return content, 0
    try:
        opened = open_image(content, size)
    except UnreadableError as error:
        return error, 0
    pixels = opened.image.width * opened.image.height
    return opened, len(content) + BYTES_PER_PIXEL * pixels


def finish(opened: Opened | UnreadableError, size: int, fit: Fit) -> Decoded | UnreadableError:
    if isinstance(opened, UnreadableError):
        return opened
    try:
        return Decoded(decode_opened(opened, size, fit), opened.source_size)
    except UnreadableError as error:
        return error
