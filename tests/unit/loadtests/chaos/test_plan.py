"""Plans follow from their seed, and what is confidential is marked twice."""

from loadtests.chaos.plan import MARKER, Manner, Mix, belongs_to, confidential_in, make_plans

MIX = Mix({"cloud": 3.0, "sim-primary": 1.0, "auto": 1.0}, confidential_share=0.3)


def test_the_same_seed_gives_the_same_plans_and_another_one_others() -> None:
    first = make_plans("s", MIX, is_stream=True, num=50, seed=1)
    assert make_plans("s", MIX, is_stream=True, num=50, seed=1) == first
    assert make_plans("s", MIX, is_stream=True, num=50, seed=2) != first


def test_ids_are_unique_and_tell_what_is_confidential() -> None:
    plans = make_plans("s.plain", MIX, is_stream=False, num=200, seed=1)
    assert len({plan.request_id for plan in plans}) == 200
    assert all(confidential_in(plan.request_id) == plan.is_confidential for plan in plans)
    assert all(belongs_to(plan.request_id, "s.plain") for plan in plans)
    assert not belongs_to("s.plainer.1", "s.plain")
    assert not confidential_in(None)


def test_a_confidential_request_says_so_in_its_header_and_carries_the_marker() -> None:
    plans = make_plans("s", MIX, is_stream=False, num=200, seed=1)
    assert 30 < sum(plan.is_confidential for plan in plans) < 90
    for plan in plans:
        assert (MARKER in plan.prompt) == plan.is_confidential
        expected = "confidential" if plan.is_confidential else "public"
        assert plan.headers()["X-Upcoach-Data-Class"] == expected


def test_some_confidential_requests_ask_for_a_cloud_all_the_same() -> None:
    plans = make_plans("s", MIX, is_stream=False, num=400, seed=1)
    asked = {plan.model for plan in plans if plan.is_confidential}
    assert {"local", "auto", "cloud", "sim-primary"} == asked


def test_a_deadline_is_sent_in_whole_milliseconds_and_never_zero() -> None:
    mix = Mix({"cloud": 1.0}, least_deadline_s=0.0001, most_deadline_s=0.002)
    sent = {plan.headers()["X-Upcoach-Deadline-Ms"] for plan in make_plans("s", mix, is_stream=True, num=99, seed=1)}
    assert sent <= {"1", "2"}


def test_nobody_can_leave_in_the_middle_of_what_is_no_stream() -> None:
    mix = Mix({"cloud": 1.0}, manner=Manner.LEAVES_IN_STREAM)
    manners = {plan.manner for plan in make_plans("s", mix, is_stream=False, num=20, seed=1)}
    assert manners == {Manner.LEAVES_EARLY}


def test_a_tool_is_offered_to_clouds_only() -> None:
    mix = Mix({"cloud": 1.0, "auto": 1.0}, calls_tool=True, confidential_share=0.2)
    for plan in make_plans("s", mix, is_stream=True, num=60, seed=1):
        assert ("tools" in plan.body()) == (plan.model == "cloud" and not plan.is_confidential)
