"""JSON Schema held against a value strictly: fields that the schema does not name are violations too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator


def find_violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """List what of a value does not keep to a schema, each with the place; fields the schema does not name included."""
    Draft202012Validator.check_schema(schema)
    errors = Draft202012Validator(_close(schema)).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _close(schema: Any) -> Any:
    """Forbid, in a schema and all in it, properties that are not named."""
    if isinstance(schema, list):
        return [_close(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {name: _close(each) for name, each in schema.items()}
    return {"additionalProperties": False, **closed} if isinstance(closed.get("properties"), dict) else closed
