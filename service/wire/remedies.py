"""What to do about a field that does not fit, from the model's own JSON Schema, so that it cannot drift from it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
Loc: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One of pydantic's errors, the schema at its place, and the schema around it (empty where it is not at hand)."""

    error: Any
    node: Schema
    parent: Schema

    @property
    def ctx(self) -> dict[str, Any]:
        return self.error.get("ctx", {})  # type: ignore[no-any-return]

    @property
    def described(self) -> str:
        return str(self.node.get("description", "")).split("\n")[0].rstrip(".")


def remedy(fault: Fault) -> str:
    """A clause that says what to send instead."""
    kind = fault.error["type"]
    if kind in REMEDIES:
        return REMEDIES[kind](fault)
    for name, words in KINDS.items():
        if kind.startswith(f"{name}_"):
            return f"send {words}{_within(fault.node)}"
    return f"send {fault.described}" if fault.described else "see /openapi.json for what this field takes"


def node_at(root: Schema, loc: Loc) -> Schema:
    """The schema at pydantic's loc (union members' tags are parts of it); the last known one where it leads out."""
    node = root
    for part in loc:
        node = _follow(root, node)
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in node.get("properties", {}):
            node = node["properties"][part]
        elif part in mapping:
            node = {"$ref": mapping[part]}
        elif isinstance(part, int) and "items" in node:
            node = node["items"]
        elif isinstance(node.get("additionalProperties"), dict):
            node = node["additionalProperties"]
    return _follow(root, node)


def _follow(root: Schema, node: Schema) -> Schema:
    """Through $ref, and through `null | X` to X."""
    while True:
        around = {name: value for name, value in node.items() if name not in ("$ref", "anyOf")}
        members = [each for each in node.get("anyOf", []) if each.get("type") != "null"]
        if "$ref" in node:
            node = {**root["$defs"][node["$ref"].rsplit("/", 1)[-1]], **around}
        elif len(members) == 1:
            node = {**around, **members[0]}
        else:
            return node


def _rule(fault: Fault) -> str:
    """Our own validators write `what is wrong: what to do`."""
    return str(fault.ctx["error"]).split(": ", 1)[-1]


def _unknown(fault: Fault) -> str:
    known = list(fault.parent.get("properties", {}))
    near = difflib.get_close_matches(str(fault.error["loc"][-1]), known, n=1)
    if near:
        return f"remove it, or did you mean {near[0]}?"
    return f"remove it; known here: {', '.join(known)}" if known else "remove it"


def _missing(fault: Fault) -> str:
    return f"add it: {fault.described}" if fault.described else "add it"


def _tags(fault: Fault) -> str:
    return f"choose one of {', '.join(fault.node.get('discriminator', {}).get('mapping', {}))}"


def _names(fault: Fault) -> str:
    return f"choose {fault.ctx['expected'].replace(chr(39), '')}"


def _bounds(fault: Fault) -> str:
    kind = "a whole number" if fault.node.get("type") == "integer" else "a number"
    return f"send {kind}{_within(fault.node)}"


def _within(node: Schema) -> str:
    words = {
        "minimum": "{} or more",
        "exclusiveMinimum": "more than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
    }
    bounds = " and ".join(text.format(node[name]) for name, text in words.items() if name in node)
    default = f" (default {node['default']})" if isinstance(node.get("default"), int | float) else ""
    return (f", {bounds}" if bounds else "") + default


def _length(fault: Fault) -> str:
    return f"send {_span(fault, 'Length')} characters"


def _count(fault: Fault) -> str:
    return f"send {_span(fault, 'Items' if fault.node.get('type') == 'array' else 'Properties')} of them"


def _span(fault: Fault, of: str) -> str:
    low = fault.node.get(f"min{of}", fault.ctx.get("min_length"))
    high = fault.node.get(f"max{of}", fault.ctx.get("max_length"))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"


def _pattern(fault: Fault) -> str:
    pattern = str(fault.ctx["pattern"])
    if pattern.startswith("^file_"):
        return "use the id that POST /files gave: file_ and 26 characters"
    if "a-z0-9._-" in pattern:
        return "use 1 to 64 lower-case letters, digits, '.', '_' or '-', with a letter or digit at both ends"
    if "A-Za-z0-9._=/-" in pattern:
        return "use 1 to 63 letters, digits, '.', '_', '=', '/' or '-', a letter or digit first"
    return f"match the pattern {pattern}"


KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "tuple": "an array",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}
REMEDIES: dict[str, Callable[[Fault], str]] = {
    "value_error": _rule,
    "extra_forbidden": _unknown,
    "missing": _missing,
    "union_tag_invalid": _tags,
    "union_tag_not_found": _tags,
    "literal_error": _names,
    "enum": _names,
    "greater_than": _bounds,
    "greater_than_equal": _bounds,
    "less_than": _bounds,
    "less_than_equal": _bounds,
    "finite_number": _bounds,
    "string_too_short": _length,
    "string_too_long": _length,
    "too_short": _count,
    "too_long": _count,
    "string_pattern_mismatch": _pattern,
}
"""pydantic's error type → its remedy."""
