"""As much of JSON Schema (draft 2020-12) as this project's schemas use; any other keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
_SILENT = {"$schema", "$defs", "title", "description"}


def find_violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """List what of a value does not keep to a schema, each with the place; fields the schema does not name included."""
    return list(_violations(value, schema, schema, "$"))


def _violations(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    kinds = schema.get("type", list(_TYPES))
    if not any(_is_of_type(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{place}: {value!r} is not of type {kinds}"
        return  # the other keywords are about values of this type
    for keyword, wanted in schema.items():
        if keyword in _SILENT or keyword in ("type", "properties", "additionalProperties"):
            continue
        if keyword == "$ref":
            yield from _violations(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, place)
        elif keyword in ("enum", "const"):
            allowed = wanted if keyword == "enum" else [wanted]
            if not any(type(value) is type(each) and value == each for each in allowed):
                yield f"{place}: {value!r} is not in {allowed}"
        elif keyword == "oneOf":
            fitting = [each for each in wanted if not list(_violations(value, each, root, place))]
            if len(fitting) != 1:
                yield f"{place}: {value!r} fits {len(fitting)} of {len(wanted)} alternatives"
        elif keyword == "required":
            yield from (f"{place}: {name} is missing" for name in wanted if name not in value)
        elif keyword == "minimum":
            if not value >= wanted:
                yield f"{place}: {value!r} is below {wanted}"
        elif keyword == "pattern":
            if not re.search(wanted, value):
                yield f"{place}: {value!r} does not match {wanted}"
        elif keyword == "items":
            for index, item in enumerate(value):
                yield from _violations(item, wanted, root, f"{place}[{index}]")
        else:
            raise NotImplementedError(keyword)
    if isinstance(value, dict) and schema.get("type") == "object":
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner is None:
                yield f"{place}: {name} is not described"
            else:
                yield from _violations(item, inner, root, f"{place}.{name}")


def _is_of_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
