"""What is wrong with a configuration, said so that it can be mended: file, line, key and the nearest valid name."""

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` is the dotted path in the file; `line` counts from 1 and is None where the key is missing."""

    key: str
    line: int | None
    sentence: str


class InvalidSettings(Exception):
    """A configuration that cannot be used, with everything that is wrong in it."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        super().__init__(path, tuple(problems))
        self.path, self.problems = path, tuple(problems)

    def __str__(self) -> str:
        return "\n".join(
            f"{self.path}{f':{problem.line}' if problem.line else ''}: {problem.key}: {problem.sentence}"
            for problem in self.problems
        )


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """'; did you mean …?' for the nearest valid name, else the valid names when they are few."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; valid: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def dotted(location: Location) -> str:
    return ".".join(str(part) for part in location if part != "[key]") or "(file)"


def line_of(root: yaml.Node | None, location: Location) -> int | None:
    """The line on which the deepest existing part of `location` stands."""
    line, node = None, root
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def from_validation(error: ValidationError, model: type[BaseModel], root: yaml.Node | None) -> list[Problem]:
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        location: Location = item["loc"]
        sentence = item["msg"].removeprefix("Value error, ").rstrip(".")
        if item["type"] == "extra_forbidden":
            sentence = f"unknown key{did_you_mean(str(location[-1]), _names_at(model, location[:-1]))}"
        elif item["type"] == "missing":
            sentence = "this key is missing"
        elif item["type"] == "enum":
            sentence = f"not a valid value; expected {item.get('ctx', {}).get('expected', 'one of a closed set')}"
        problems.append(Problem(dotted(location), line_of(root, location), sentence))
    return problems


def _names_at(model: type[BaseModel], location: Location) -> set[str]:
    """The keys that are valid at `location`, found by walking the model's annotations."""
    annotation: object = model
    for part in location:
        annotation = _step(annotation, part)
    found = _model_in(annotation)
    return set(found.model_fields) if found else set()


def _step(annotation: object, part: str | int) -> object:
    found = _model_in(annotation)
    if found is not None:
        field = found.model_fields.get(str(part))
        return field.annotation if field else None
    plain = _strip(annotation)
    arguments = typing.get_args(plain)
    if typing.get_origin(plain) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _strip(annotation: object) -> object:
    """Without Annotated and without None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _strip(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
        return _strip(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _model_in(annotation: object) -> type[BaseModel] | None:
    plain = _strip(annotation)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None
