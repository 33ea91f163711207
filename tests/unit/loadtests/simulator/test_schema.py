"""Values that satisfy simple JSON schemas."""

from typing import Any

import pytest

from loadtests.simulator.schema import example_of


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 3}, 3),
        ({"enum": ["low", "high"]}, "low"),
        ({"type": "string", "minLength": 12}, "simulatedxxx"),
        ({"type": "string", "maxLength": 3}, "sim"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "integer", "minimum": 5, "maximum": 9}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMaximum": 0}, -0.5),
        ({"type": "boolean"}, True),
        ({"type": ["string", "null"]}, "simulated"),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"type": "object"}, {}),
        ({}, {}),
    ],
)
def test_the_value_satisfies_the_schema(schema: dict[str, Any], value: object) -> None:
    assert example_of(schema) == value


def test_references_inside_the_schema_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"step": {"$ref": "#/$defs/Step"}},
        "$defs": {"Step": {"type": "object", "properties": {"title": {"type": "string"}}}},
    }
    assert example_of(schema) == {"step": {"title": "simulated"}}


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    value = example_of({"type": "object", "properties": {"next": {"$ref": "#"}}})
    depth = 0
    while value is not None:
        value, depth = value["next"], depth + 1
    assert depth < 20


def test_a_reference_to_itself_alone_comes_to_an_end() -> None:
    assert example_of({"$ref": "#"}) is None
