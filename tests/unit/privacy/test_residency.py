"""Places are an intersection: of the data class, the tenant and the alias."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.contracts.vocabulary import LOCAL, Alias, DataClass, Place
from serve_app.privacy.residency import ResidencyPolicy, allowed_places
from tests.fakes.builders import CLOUD

EU = Place("cloud-eu")
EVERY_PLACE = frozenset({LOCAL, CLOUD, EU})
POLICY = ResidencyPolicy(
    {
        DataClass.PUBLIC: EVERY_PLACE,
        DataClass.PERSONAL: frozenset({LOCAL, EU}),
        DataClass.CONFIDENTIAL: frozenset({LOCAL}),
    }
)
PLACES = st.frozensets(st.sampled_from(sorted(EVERY_PLACE)))
WANTED = st.sampled_from([*Alias, "gpt-5"])


@pytest.mark.parametrize(
    ("data_class", "tenant_places", "wanted", "expected"),
    [
        (DataClass.PUBLIC, EVERY_PLACE, Alias.AUTO, EVERY_PLACE),
        (DataClass.PERSONAL, EVERY_PLACE, Alias.AUTO, {LOCAL, EU}),
        (DataClass.CONFIDENTIAL, EVERY_PLACE, Alias.AUTO, {LOCAL}),
        (DataClass.PUBLIC, {LOCAL}, Alias.AUTO, {LOCAL}),
        (DataClass.PERSONAL, {CLOUD}, Alias.AUTO, set()),
        (DataClass.CONFIDENTIAL, {CLOUD, EU}, Alias.AUTO, set()),
        (DataClass.PUBLIC, EVERY_PLACE, Alias.LOCAL, {LOCAL}),
        (DataClass.PUBLIC, {CLOUD}, Alias.LOCAL, set()),
        (DataClass.PUBLIC, EVERY_PLACE, Alias.CLOUD, EVERY_PLACE),
        (DataClass.CONFIDENTIAL, EVERY_PLACE, Alias.CLOUD, {LOCAL}),
        (DataClass.PUBLIC, {EU}, "gpt-5", {EU}),
        (DataClass.PUBLIC, EVERY_PLACE, "local", EVERY_PLACE),
    ],
)
def test_the_places_are_what_everyone_allows(
    data_class: DataClass, tenant_places: set[Place], wanted: Alias | str, expected: set[Place]
) -> None:
    assert allowed_places(POLICY, frozenset(tenant_places), data_class=data_class, wanted=wanted) == expected


@given(st.sampled_from(DataClass), PLACES, PLACES, WANTED)
def test_nobody_can_widen_them(
    data_class: DataClass, tenant_places: frozenset[Place], fewer: frozenset[Place], wanted: Alias | str
) -> None:
    places = allowed_places(POLICY, tenant_places, data_class=data_class, wanted=wanted)
    assert places <= tenant_places
    assert places <= POLICY.places[data_class]
    assert allowed_places(POLICY, tenant_places & fewer, data_class=data_class, wanted=wanted) <= places


@given(PLACES, PLACES, PLACES, WANTED)
def test_confidential_data_stays_whatever_the_policy_and_the_tenant_say(
    public: frozenset[Place], personal: frozenset[Place], tenant_places: frozenset[Place], wanted: Alias | str
) -> None:
    policy = ResidencyPolicy(
        {DataClass.PUBLIC: public, DataClass.PERSONAL: personal, DataClass.CONFIDENTIAL: frozenset({LOCAL})}
    )
    assert allowed_places(policy, tenant_places, data_class=DataClass.CONFIDENTIAL, wanted=wanted) <= {LOCAL}


@pytest.mark.parametrize("places", [{CLOUD}, {LOCAL, CLOUD}])
def test_a_policy_that_lets_confidential_data_out_cannot_be_made(places: set[Place]) -> None:
    with pytest.raises(ValueError, match="confidential"):
        ResidencyPolicy(
            {
                DataClass.PUBLIC: EVERY_PLACE,
                DataClass.PERSONAL: EVERY_PLACE,
                DataClass.CONFIDENTIAL: frozenset(places),
            }
        )


@pytest.mark.parametrize("missing", list(DataClass))
def test_a_policy_must_state_the_places_of_every_data_class(missing: DataClass) -> None:
    with pytest.raises(ValueError, match=f"no places stated for: {missing.value}"):
        ResidencyPolicy({data_class: frozenset({LOCAL}) for data_class in DataClass if data_class is not missing})


def test_confidential_data_may_be_allowed_nowhere() -> None:
    policy = ResidencyPolicy({data_class: frozenset() for data_class in DataClass})
    assert not allowed_places(policy, EVERY_PLACE, data_class=DataClass.CONFIDENTIAL, wanted=Alias.AUTO)
