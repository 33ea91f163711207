"""Turns what pydantic found into one sentence and one OpenAI-like `param`.

Invariant: neither holds anything of the caller's: sentences come from the tables below, names from the schema.
"""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, ValidationError

from serve_app.errors import InvalidRequest

ModelT = TypeVar("ModelT", bound="RequestModel")
ItemT = TypeVar("ItemT")

ListOf = Annotated[list[ItemT], Field(fail_fast=True)]
"""A list whose first bad item ends the validation: a million bad items must not become a million errors."""

NonEmptyListOf = Annotated[list[ItemT], Field(fail_fast=True, min_length=1)]
NonEmptyStr = Annotated[str, Field(min_length=1)]

# Fields whose keys the caller makes up: their keys are not repeated.
_KEYED_BY_CALLER = frozenset({"metadata", "logit_bias"})

_PROBLEMS = {
    "missing": "is required.",
    "union_tag_not_found": "is required.",
    "string_type": "must be a string.",
    "int_type": "must be an integer.",
    "int_from_float": "must be an integer.",
    "float_type": "must be a number.",
    "finite_number": "must be a finite number.",
    "bool_type": "must be true or false.",
    "list_type": "must be a list.",
    "dict_type": "must be an object.",
    "model_type": "must be an object.",
    "model_attributes_type": "must be an object.",
    "text_or_list": "must be a string or a list.",
    "text_or_object": "must be a string or an object.",
}


class RequestModel(BaseModel):
    """A request's known fields. JSON types are taken literally; fields it does not know are left to the upstream."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())


class Fault(ValueError):
    """A fault that spans several fields. `problem` completes "'{param}' …"; `path` leads there from the model."""

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem, *path)
        self.problem, self.path = problem, path


def _tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "list"
    return "object" if isinstance(value, dict) else None


TEXT_OR_LIST = Discriminator(_tag, custom_error_type="text_or_list", custom_error_message="neither text nor list")
"""Picks `Tag("text")` or `Tag("list")` by the JSON type, so that only one branch reports errors."""

TEXT_OR_OBJECT = Discriminator(_tag, custom_error_type="text_or_object", custom_error_message="neither text nor object")
"""Picks `Tag("text")` or `Tag("object")` by the JSON type."""


def validate(model: type[ModelT], body: Mapping[str, Any]) -> ModelT:
    """Raises InvalidRequest for the first fault, in the order of the model's fields."""
    try:
        return model.model_validate(dict(body))
    except ValidationError as refusal:
        error = refusal.errors(include_url=False, include_input=False)[0]
    raise _invalid_request(error["type"], error["loc"], error.get("ctx", {}), body)


def _invalid_request(
    kind: str, path: tuple[str | int, ...], context: Mapping[str, Any], body: Mapping[str, Any]
) -> InvalidRequest:
    names = _names(path, body, is_missing=kind == "missing")
    fault = context.get("error")
    if isinstance(fault, Fault):
        names.extend(fault.path)
        problem = fault.problem
    else:
        problem = _problem(kind, context)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        names.append(context["discriminator"].strip("'"))
    if names and names[-1] in _KEYED_BY_CALLER and names[-1] != path[-1]:
        problem = f"has a value that {problem}"
    param = ".".join(names)
    return InvalidRequest(f"'{param}' {problem}" if param else f"The body {problem}", param or None)


def _names(path: tuple[str | int, ...], body: Mapping[str, Any], *, is_missing: bool) -> list[str]:
    """The path as it runs through the body: pydantic's names for a union's branches are no keys there and left out."""
    names: list[str] = []
    node: Any = body
    for position, step in enumerate(path):
        is_item = isinstance(node, list) and isinstance(step, int) and step < len(node)
        if is_item or (isinstance(node, Mapping) and step in node):
            node = node[step]
        elif not (is_missing and position == len(path) - 1):
            continue
        names.append(str(step))
        if step in _KEYED_BY_CALLER:
            break
    return names


def _problem(kind: str, context: Mapping[str, Any]) -> str:
    if kind in _PROBLEMS:
        return _PROBLEMS[kind]
    match kind:
        case "literal_error":
            return f"must be {context['expected']}."
        case "union_tag_invalid":
            return f"must be one of {context['expected_tags']}."
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}."
        case "less_than_equal":
            return f"must be at most {context['le']:g}."
        case "string_too_short" | "too_short":  # the only least length in any model is 1
            return "must not be empty."
        case "too_long":
            return f"must have a length of at most {context['max_length']}."
        case _:
            return "is not valid."
