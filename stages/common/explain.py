"""One line for each fault that pydantic finds in a mapping, with the key as the file has it."""

import re
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from common.errors import choose, shown
from common.section import Section

MOST_LINES = 20


def explain(error: ValidationError, root: type[Section]) -> list[str]:
    """Return a line for each fault: the key's full path, the value, the rule or the choices.

    Args:
        error: what validating a mapping raised.
        root: the model that it was validated by.
    """
    faults = error.errors()
    lines = [explain_fault(fault, root) for fault in faults[:MOST_LINES]]
    return lines if len(faults) <= MOST_LINES else [*lines, f"{len(faults) - MOST_LINES} more"]


def explain_fault(fault: ErrorDetails, root: type[Section]) -> str:
    location, kind, value = fault["loc"], fault["type"], fault["input"]
    of_key = location[-1:] == ("[key]",) and kind != "extra_forbidden"
    keys, section, options = locate(location[:-1] if of_key else location, root)
    path = ".".join(keys)
    if kind == "extra_forbidden":
        line = f"{path}: unknown key; {choose(keys[-1], list(section.model_fields))}"
        # After another name was chosen, with DVC's -S, keys of the one before may be left.
        return f"{line}; or remove it: -S '~{path}'" if is_choice(section) else line
    if kind == "missing":
        return f"{path}: missing; add it"
    if kind == "union_tag_not_found":
        return f"{path}.name: missing; choose from {', '.join(map(name_of, options))}"
    if kind == "union_tag_invalid":
        name = value["name"]
        return f"{path}.name is {shown(name)}; {choose(str(name), list(map(name_of, options)))}"
    if kind == "literal_error":
        choices = re.findall("'(.*?)'", fault["ctx"]["expected"])
        return f"{path} is {shown(value)}; {choose(str(value), choices)}"
    if kind in ("model_type", "model_attributes_type"):
        needed = ", ".join(options[0].model_fields) if len(options) == 1 else "a name"
        return f"{path} is {shown(value)}; it must be a mapping with {needed}"
    rule = fault["msg"].removeprefix("Value error, ").replace("Input should", "it must")
    rule = re.sub(r"\d{10,}", lambda number: f"{float(number[0]):g}", rule)
    if of_key or kind == "invalid_key":
        return f"{path}: {rule if kind == 'value_error' else 'a key must be text; quote it'}"
    return f"{path} is {shown(value)}; {rule}" if path else rule


def locate(
    location: tuple[int | str, ...], root: type[Section]
) -> tuple[list[str], type[Section], list[type[Section]]]:
    """Follow a fault's location from ``root``.

    Returns:
        The keys on the way, without the names that pydantic inserts where a union of sections is;
        the section that has the last key; the sections that the value may be.
    """
    keys: list[str] = []
    section, annotation = root, cast(Any, root)
    for part in location:
        options = sections_of(annotation)
        if len(options) > 1:
            annotation = next(option for option in options if name_of(option) == part)
        elif options:
            keys.append(str(part))
            section = options[0]
            field = section.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            keys.append(str(part))  # of a dict or a list
            annotation = (get_args(annotation) or [None])[-1]
    return keys, section, sections_of(annotation)


def sections_of(annotation: Any) -> list[type[Section]]:
    """Return the sections that a value with this annotation may be."""
    alternatives = (
        get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    )
    return [each for each in alternatives if isinstance(each, type) and issubclass(each, Section)]


def is_choice(section: type[Section]) -> bool:
    field = section.model_fields.get("name")
    return field is not None and get_origin(field.annotation) is Literal


def name_of(section: type[Section]) -> str:
    """Return the name that chooses this section in a union."""
    return str(get_args(section.model_fields["name"].annotation)[0])
