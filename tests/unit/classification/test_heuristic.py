import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.classification.heuristic import assess_by_heuristic
from serve_app.contracts.assessment import Assessment, Turn
from serve_app.contracts.vocabulary import Domain, ScoredBy


def assess(text: str) -> Assessment:
    return assess_by_heuristic([Turn("user", text)])


@given(
    st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text(st.characters(codec=None))), max_size=4)
)
def test_any_conversation_gets_an_assessment_in_range(turns: list[Turn]) -> None:
    assessment = assess_by_heuristic(turns, elapsed_s=0.5)
    assert 0.0 <= assessment.complexity <= 1.0
    assert 0.0 <= assessment.domain_confidence <= 1.0
    assert (assessment.scored_by, assessment.elapsed_s) == (ScoredBy.HEURISTIC, 0.5)


def test_greetings_are_simpler_than_coaching_and_coaching_than_hard_reasoning() -> None:
    greeting = assess("Hello, how are you?").complexity
    coaching = assess("How do I give feedback to a colleague who is often late?").complexity
    hard = assess("Prove that the square root of 2 is irrational, then generalise to all primes.").complexity
    assert greeting < 0.1 < coaching < 0.25
    assert hard > 0.5


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Hi!", Domain.SMALLTALK),
        ("", Domain.SMALLTALK),
        ("How are you today?", Domain.SMALLTALK),
        ("Good morning!", Domain.SMALLTALK),
        ("Fix this:\n```\nx = 1\n```", Domain.CODING),
        ("How do I sort a list in Python?", Domain.CODING),
        ("Extract all dates as JSON from the letter", Domain.EXTRACTION),
        ("Write a poem about the sea for my sister's wedding", Domain.WRITING),
        ("Solve 3*x + 5 = 20", Domain.MATH),
        ("A says B is a knave; B says both are knights. Deduce who lies.", Domain.REASONING),
        ("I feel stuck with my manager and my career", Domain.COACHING),
        ("Which river flows through the city of Vienna today, and where does it end?", Domain.KNOWLEDGE),
    ],
)
def test_the_domain_is_the_first_that_matches(text: str, domain: Domain) -> None:
    assert assess(text).domain is domain


def test_a_greeting_in_front_of_hard_work_does_not_make_it_small_talk() -> None:
    assert assess("Hi, prove the theorem by induction").complexity > 0.3


def test_only_the_last_user_turn_counts() -> None:
    turns = [Turn("user", "Prove the theorem"), Turn("assistant", "Prove what?"), Turn("user", "Thanks!")]
    assert assess_by_heuristic([*turns, Turn("assistant", "Prove.")]).complexity == assess("Thanks!").complexity


def test_the_middle_of_a_long_text_is_not_read() -> None:
    filler = "lorem ipsum " * 1000
    assert assess(filler + "prove the theorem" + filler).complexity == assess(filler + filler).complexity
