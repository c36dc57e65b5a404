"""Whether a body is what a CustomResourceDefinition says: its own OpenAPI schema, trimmed, in `crds/`.

Stricter than an API server, which drops fields that it does not know.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_TYPES = {"string": str, "boolean": bool, "object": dict, "array": list, "number": (int, float), "integer": int}


@cache
def definition(plural: str) -> dict[str, Any]:
    """Group, version, kind and schema of a kind of objects; `source` says where it is from."""
    return json.loads((Path(__file__).parent / "crds" / f"{plural}.json").read_text())


def problems(schema: dict[str, Any], value: Any, where: str = "") -> list[str]:
    """What an API server would say of a value, and of each field that the schema does not know."""
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, (int, str)) and not isinstance(value, bool)
        return [] if fits else [f"{where}: Invalid value: {value!r}: must be an integer or a string"]
    kind = _TYPES[schema["type"]] if "type" in schema else object
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        return [f"{where}: Invalid value: {value!r}: must be of type {schema['type']}"]
    found = [f"{where}: {said}" for said in _limits(schema, value)]
    if isinstance(value, dict):
        return found + _of_object(schema, value, where)
    if isinstance(value, list) and "items" in schema:
        return found + [p for i, each in enumerate(value) for p in problems(schema["items"], each, f"{where}[{i}]")]
    return found


def _of_object(schema: dict[str, Any], value: dict[str, Any], where: str) -> list[str]:
    known, other = schema.get("properties"), schema.get("additionalProperties")
    found = [f"{where}.{name}: Required value" for name in schema.get("required", []) if name not in value]
    for name, each in value.items():
        path = f"{where}.{name}".lstrip(".")
        if known and name in known:
            found += problems(known[name], each, path)
        elif isinstance(other, dict):
            found += problems(other, each, path)
        elif known:
            found.append(f'strict decoding error: unknown field "{path}"')
    return found


def _limits(schema: dict[str, Any], value: Any) -> list[str]:
    size = len(value) if isinstance(value, (str, list)) else 0
    broken = {
        "minimum": lambda least: value < least,
        "minLength": lambda least: size < least,
        "maxLength": lambda most: size > most,
        "maxItems": lambda most: size > most,
        "enum": lambda known: value not in known,
        "pattern": lambda pattern: not re.search(pattern, value),
    }
    return [
        f"Invalid value: {value!r}: {name} {schema[name]}"
        for name, breaks in broken.items()
        if name in schema and breaks(schema[name])
    ]
