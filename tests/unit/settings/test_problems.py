"""How a problem finds its line, its dotted name and the nearest valid name."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field, ValidationError

from serve_app.settings.problems import (
    InvalidSettings,
    Location,
    Problem,
    did_you_mean,
    dotted,
    from_validation,
    line_of,
)
from serve_app.strict import StrictModel

TEXT = """\
a:
  b: [1, 2]
  c:
    - {d: 1}
    - d: 2
e: x
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), None),
        (("a",), 1),
        (("a", "b"), 2),
        (("a", "b", 1), 2),
        (("a", "b", 7), 2),
        (("a", "c", 1, "d"), 5),
        (("a", "c", 1, "missing"), 5),
        (("a", "missing", "deeper"), 1),
        (("missing",), None),
        (("e", "deeper"), 6),
        (("a", "b", "not a number"), 2),
        (("e", "[key]"), 6),
    ],
)
def test_the_line_is_that_of_the_deepest_part_that_exists(location: Location, line: int | None) -> None:
    assert line_of(yaml.compose(TEXT, Loader=yaml.SafeLoader), location) == line


def test_nothing_has_no_line() -> None:
    assert line_of(None, ("a",)) is None


@pytest.mark.parametrize(
    ("location", "name"),
    [(("a", "b", 0), "a.b.0"), (("a", "B C", "[key]"), "a.B C"), ((), "(file)")],
)
def test_a_location_is_written_with_dots(location: Location, name: str) -> None:
    assert dotted(location) == name


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("ruting", ["routing", "router"], "; did you mean 'routing'?"),
        ("x", ["b", "a"], "; valid: a, b"),
        ("x", [], ""),
        ("x", [f"name-{number}" for number in range(13)], ""),
    ],
)
def test_the_nearest_name_or_the_few_there_are(name: str, valid: list[str], hint: str) -> None:
    assert did_you_mean(name, valid) == hint


def test_a_problem_without_a_line_is_told_without_one() -> None:
    error = InvalidSettings(Path("g.yaml"), [Problem("a", None, "missing"), Problem("b", 3, "wrong")])
    assert str(error) == "g.yaml: a: missing\ng.yaml:3: b: wrong"


class Leaf(StrictModel):
    colour: str = ""


class Tree(StrictModel):
    either: int | Leaf | None = None
    eithers: int | list[Leaf] | None = None
    maybe: Leaf | None = None
    noted: Annotated[Leaf, Field(description="x")] = Leaf()
    inner: list[Annotated[Leaf, Field(description="x")]] = Field(default_factory=list)
    many: list[Leaf] = Field(default_factory=list)
    named: dict[str, Leaf] = Field(default_factory=dict)
    nested: dict[str, list[Leaf]] = Field(default_factory=dict)


def sentences(raw: dict[str, Any], model: type[BaseModel] = Tree) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(raw)
    return {problem.key: problem.sentence for problem in from_validation(caught.value, model, None)}


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"maybe": {"color": 1}}, "maybe.color"),
        ({"noted": {"color": 1}}, "noted.color"),
        ({"inner": [{"color": 1}]}, "inner.0.color"),
        ({"many": [{}, {"color": 1}]}, "many.1.color"),
        ({"named": {"x": {"color": 1}}}, "named.x.color"),
        ({"nested": {"x": [{"color": 1}]}}, "nested.x.0.color"),
    ],
)
def test_an_unknown_key_is_compared_with_those_of_its_own_model(raw: dict[str, Any], key: str) -> None:
    assert sentences(raw) == {key: "unknown key; did you mean 'colour'?"}


def test_where_the_model_cannot_be_told_the_key_is_still_unknown() -> None:
    assert sentences({"either": {"color": 1}})["either.Leaf.color"] == "unknown key"
    assert sentences({"eithers": [{"color": 1}]})["eithers.list[Leaf].0.color"] == "unknown key"
