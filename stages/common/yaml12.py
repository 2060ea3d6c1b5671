"""YAML 1.2, as DVC reads it.

PyYAML alone follows YAML 1.1, in which ``1e-3`` is a string and ``no`` is false.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError, shown
from common.files import check_is_file

OLD_LINE_BREAK = re.compile("[\x85\u2028\u2029]")  # in YAML 1.1, and an ordinary character in 1.2
MOST_BYTES = 50_000  # of a file, which PyYAML parses within a second
MOST_NODES = 50_000  # keys and values, with those that aliases repeat
MOST_LEVELS = 50  # of brackets


class Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's scalars; errors for a key given twice, deep nesting and aliases that multiply."""

    # As PyYAML declares it.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level == MOST_LEVELS:  # beyond, PyYAML's time grows with their square
            raise RecursionError
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node:
            count_nodes(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if key in seen:
                raise UserError(
                    f"line {key_node.start_mark.line + 1}: the key {shown(key)} is given twice; "
                    "keep one"
                )
            seen.add(key)
        return mapping


def count_nodes(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Return how many nodes ``node`` stands for, each alias counted as what it repeats.

    Raises:
        UserError: They are too many, or a node contains itself.
    """
    if node not in counts:
        counts[node] = MOST_NODES + 1  # what a node that contains itself finds
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = [part if isinstance(part, tuple) else (part,) for part in parts]
        counts[node] = 1 + sum(count_nodes(part, counts) for pair in pairs for part in pair)
    if counts[node] > MOST_NODES:
        raise UserError(
            f"line {node.start_mark.line + 1}: aliases that multiply, or an anchor that contains "
            "itself; write the values out"
        )
    return counts[node]


for tag, pattern, first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    # No leading zeros: YAML 1.1 and 1.2 read 010 as different numbers.
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        # With a point or an exponent, so that 010 is not one; and after .5 only an exponent with a
        # sign, as DVC has it.
        r"[-+]?[0-9]+(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
]:
    Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), first
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: There is no such file, it is not YAML, is too large, or holds something else.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            content = parse_yaml(file.read(MOST_BYTES + 1))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file in {Path.cwd()}; run from the project's root"
        ) from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {shown(content)}; it must be a mapping")
    return content


def parse_yaml(content: bytes) -> object:
    """Return what a YAML document holds.

    Raises:
        UserError: It is not YAML, is too large, or is nested too deeply.
    """
    if len(content) > MOST_BYTES:
        raise UserError(f"more than {MOST_BYTES:,} bytes; make it smaller")
    try:
        text = content.decode()
        if old := OLD_LINE_BREAK.search(text):
            raise UserError(f"not YAML: {old[0]!r} after {text[: old.start()][-20:]!r}; remove it")
        return yaml.load(text, Loader=Yaml12Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise UserError("nested too deeply; remove levels of brackets or indentation") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # What PyYAML raises for !!timestamp x and the like.
        raise UserError(f"not YAML: a tag or a number without sense ({error})") from None
