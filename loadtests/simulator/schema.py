"""A value that satisfies a JSON schema where that is simple: the same one each time."""

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 12
_TEXT = "simulated"
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example_of(schema: Mapping[str, Any]) -> Any:
    """Follows const, enum, default, anyOf, oneOf, allOf, local $ref, types, required sizes and ranges; no patterns.

    Nesting past MAX_DEPTH, as a schema that refers to itself has it, ends in null.
    """
    return _value(schema, schema, 0)


def _value(schema: object, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return _value(_follow(str(schema["$ref"]), root), root, depth + 1)
    if schema.get("allOf"):
        return _value(_merged(schema["allOf"]), root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _value(schema[key][0], root, depth + 1)
    return _typed_value(schema, root, depth)


def _typed_value(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    match kind:
        case "string":
            return _string(schema)
        case "integer":
            return int(_number(schema, step=1))
        case "number":
            return _number(schema, step=0.5)
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            size = max(1, int(schema.get("minItems", 1)))
            return [_value(schema.get("items", {"type": "string"}), root, depth + 1) for _ in range(min(size, 64))]
        case _:
            properties = schema.get("properties", {})
            return {name: _value(child, root, depth + 1) for name, child in properties.items()}


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), _TEXT)
    shortest, longest = int(schema.get("minLength", 0)), schema.get("maxLength")
    text = text.ljust(min(shortest, 4096), "x")
    return text if longest is None else text[: int(longest)]


def _number(schema: Mapping[str, Any], step: float) -> float:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if lowest is None and "exclusiveMinimum" in schema:
        lowest = schema["exclusiveMinimum"] + step
    if highest is None and "exclusiveMaximum" in schema:
        highest = schema["exclusiveMaximum"] - step
    if lowest is not None:
        return float(lowest)
    return float(min(1, highest)) if highest is not None else 1.0


def _follow(reference: str, root: Mapping[str, Any]) -> object:
    here: object = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part and isinstance(here, Mapping):
            here = here.get(part)
    return here


def _merged(schemas: list[Mapping[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for schema in schemas:
        properties = {**whole.get("properties", {}), **schema.get("properties", {})}
        whole.update(schema)
        if properties:
            whole["properties"] = properties
    return whole
