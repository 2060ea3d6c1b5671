"""Markdown as its reader has it, and names that would be markup in it."""

from markdown_it import MarkdownIt

from page import Page

HOSTILE = [
    *("<script>alert(1)</script>", "<b>", "<!-- gone -->", "&amp;", "&#42;", "a & b <c"),
    *("a|b", "|", "`code`", "```", "**bold**", "_em_", "snake_case_name", "~~struck~~", "$x$"),
    *("[link](http://example.org)", "![image](x.png)", "http://example.org", "<http://x.org>"),
    *("somebody@example.org", "# heading", "- item", "+ item", "* item", "1. one", "2) two", "3."),
    *("> quote", "===", "---", "a\\*b", "\\", "\\|", "  indented", "line\nbreak", "[x]: y"),
    *("\x1b[31mred", "=1+1", "10.5", "Übergröße ☺ 猫", "a: b", ":rocket:"),
]


def read(text: str) -> Page:
    """Return a text in Markdown as markdown-it shows it, with GitHub's tables and strikethrough."""
    return Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
