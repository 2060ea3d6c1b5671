"""Pieces of an HTML page. Only what is marked as ``Html`` may stand in it; ``text`` makes it so."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NewType

from PIL import Image

from common.errors import printable
from figures.style import DPI

Html = NewType("Html", str)
LARGEST = 300_000  # bytes of a PNG that is embedded as it is; a dozen of them stay below 5 MB
WIDEST = 1400  # pixels of one that is not
CSS_PIXELS = 96  # per inch


def text(value: object) -> Html:
    """Return ``value`` as text that is no markup and holds no control characters."""
    return Html(escape(printable(str(value))))


def paragraphs(sentences: Iterable[str]) -> Html:
    return Html("".join(f"<p>{text(sentence)}</p>\n" for sentence in sentences))


def section(title: str, *parts: Html) -> Html:
    """Return parts under a heading; nothing if all of them are empty."""
    return Html(f"<h2>{text(title)}</h2>\n{''.join(parts)}" if any(parts) else "")


def table(
    columns: Mapping[str, tuple[str, str]],
    rows: Iterable[Mapping[str, Any]],
    url: Callable[[Mapping[str, Any]], str] | None = None,
) -> Html:
    """Return a table; nothing without rows. Each cell knows its heading, for narrow screens.

    Args:
        columns: by heading, the class of the cells (text or number) and a format string for a row.
        rows: the values that the format strings name.
        url: where the first cell of a row leads, if anywhere.
    """
    headings = "".join(
        f'<th class="{kind}">{text(title)}</th>' for title, (kind, _) in columns.items()
    )
    lines = []
    for row in rows:
        cells: list[str] = []
        for title, (kind, template) in columns.items():
            content = text(template.format_map(row))
            if url and not cells:
                content = Html(f'<a href="{escape(url(row))}">{content}</a>')
            cells.append(f'<td class="{kind}" data-title="{text(title)}">{content}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>\n")
    head = f"<table>\n<thead><tr>{headings}</tr></thead>\n"
    return Html(f"{head}<tbody>\n{''.join(lines)}</tbody></table>\n" if lines else "")


def figure(path: Path, caption: str) -> Html:
    """Return a PNG of ``save_figure`` inside the page, with its caption; nothing if there is none.

    Its size on the screen is that on paper, or the page's width if that is less.
    """
    if not path.exists():
        return Html("")
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        width, height = (round(side * CSS_PIXELS / DPI) for side in image.size)
        kind, content = ("png", content) if len(content) <= LARGEST else ("jpeg", as_jpeg(image))
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    described = text(caption)
    return Html(
        f'<figure><img src="{source}" width="{width}" height="{height}" alt="{described}">'
        f"<figcaption>{described}</figcaption></figure>\n"
    )


def as_jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG of at most ``WIDEST`` pixels across."""
    smaller = image.convert("RGB")
    smaller.thumbnail((WIDEST, 10 * WIDEST))
    buffer = io.BytesIO()
    smaller.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
