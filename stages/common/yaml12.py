"""YAML 1.2, as DVC reads it. PyYAML alone follows YAML 1.1: ``1e-3`` is a string there, and ``no`` is false."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError


class Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2's scalars, and an error for a key given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(
                    f"line {node.start_mark.line + 1}: the key {key!r} is given twice; keep one"
                )
        return super().construct_mapping(node, deep)


for tag, pattern, first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    # No leading zeros: YAML 1.1 and 1.2 read 010 as different numbers.
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        # With a point or an exponent, so that 010 is not one; and after .5 only an exponent with a sign, as DVC has it.
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
        UserError: there is no such file, it is not YAML, or it holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Yaml12Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file in {Path.cwd()}; run from the project's root"
        ) from None
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
    ) as error:  # not UTF-8; or !!int and the like before what is none
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {content!r:.60}; it must be a mapping")
    return content
