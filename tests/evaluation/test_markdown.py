"""Names that would be markup are only text to a reader of Markdown."""

import pytest

from common.errors import printable
from evaluation.markdown import bullets, escape, table
from markdown_page import HOSTILE, read


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    shown = printable(name).strip()
    for page, tags in (
        (read(escape(name)), {"p"}),
        (read(f"# {escape(name)}"), {"h1"}),
        (read(f"{escape(f'Never predicted: {name}, and')} `code`"), {"p", "code"}),
        (read(bullets([name, f"{name} has 3 times as many"])), {"ul", "li"}),
    ):
        assert {tag for tag, _ in page.tags} == tags
        assert shown in page.text
    page = read(table({"x": ("text", "{name}"), "n": ("number", "{n}")}, [{"name": name, "n": 7}]))
    assert page.rows == [["x", "n"], [shown, "7"]]


def test_a_table_is_aligned_as_its_columns_say() -> None:
    columns = {"name": ("text", "{a}"), "share": ("number", "{b:.1f} %")}
    text = table(columns, [{"a": "x", "b": 2}, {"a": "", "b": 0.25}])
    assert text.splitlines() == [
        "| name | share |",
        "| --- | ---: |",
        "| x | 2.0 % |",
        "|  | 0.2 % |",
    ]


def test_what_only_github_takes_for_markup_is_written_as_a_number() -> None:
    """Links without brackets, mentions, formulas and emoji, which markdown-it leaves alone."""
    text = escape("http://example.org somebody@example.org $x$ :rocket: a: b")
    assert text == ("http&#58;//example.org somebody&#64;example.org &#36;x&#36; &#58;rocket: a: b")
