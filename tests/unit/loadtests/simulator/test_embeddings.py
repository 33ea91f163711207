"""Vectors of the simulator."""

import math

import pytest

from loadtests.simulator.embeddings import vector_of


@pytest.mark.parametrize("num_dimensions", [1, 64, 256])
def test_a_vector_has_length_one_and_is_the_same_for_the_same_text(num_dimensions: int) -> None:
    vector = vector_of("hello", num_dimensions, 1)
    assert vector == vector_of("hello", num_dimensions, 1)
    assert len(vector) == num_dimensions
    assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-5)


def test_other_texts_and_seeds_have_other_vectors() -> None:
    assert vector_of("hello", 8, 1) != vector_of("hullo", 8, 1)
    assert vector_of("hello", 8, 1) != vector_of("hello", 8, 2)
