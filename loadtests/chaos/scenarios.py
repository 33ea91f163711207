"""Every way in which the gateway is hurt: one scenario each, run once streamed and once not."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from loadtests.chaos.books import ABANDONED, CANCELLED, TIMED_OUT, Allowances
from loadtests.chaos.driver import Pressure
from loadtests.chaos.plan import Manner, Mix
from loadtests.simulator.behaviour import Behaviour
from loadtests.simulator.faults import Fault

PRIMARY, SPECIALIST, FALLBACK = "sim-primary", "sim-specialist", "sim-fallback"
CLOUDS = (PRIMARY, SPECIALIST, FALLBACK)
SEEDS = {PRIMARY: 11, SPECIALIST: 22, FALLBACK: 33}
NUM_TOKENS = 24
RACERS = {True: "racer-streamed", False: "racer-plain"}
"""The tenants of the race, by whether it is streamed: each mode spends a budget of its own."""
RACER_BUDGET_USD = 0.02

# Which of the simulators a fault befalls, and how often: the first choice often, the last resort seldom.
FAULT_RATES = {PRIMARY: 0.7, SPECIALIST: 0.7, FALLBACK: 0.15}
_WAITING = frozenset({Fault.HANG, Fault.STALL_AFTER_N, Fault.NEVER_FINISH, Fault.SLOW_DRIP})
_CLOUD_MODELS = {"cloud": 6.0, PRIMARY: 1.0, SPECIALIST: 2.0, FALLBACK: 0.5, "auto": 0.5}
_REFUSALS = frozenset({200, 403, 429, 502, 503, 504})
"""What a request that is right in itself may get."""


class Mishap(StrEnum):
    """What happens to a process, a server or the machine while the load goes on."""

    ROUTER_KILLED = "router_killed"
    LEDGER_KILLED = "ledger_killed"
    PROXY_KILLED = "proxy_killed"
    LOCAL_KILLED = "local_killed"
    HEADROOM_GONE = "headroom_gone"
    SIMULATOR_KILLED = "simulator_killed"
    REDIS_GONE = "redis_gone"
    POSTGRES_GONE = "postgres_gone"
    DISK_FULL = "disk_full"
    CLOCK_JUMPS = "clock_jumps"


@dataclass(frozen=True, slots=True)
class Scenario:
    """`share` is of the requests of one scenario: 1 is the usual number. `faults` must each befall a call.

    `uncalled` are rows that may have no call here, because a process died between the two.
    """

    name: str
    mix: Mix = field(default_factory=lambda: Mix(_CLOUD_MODELS))
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    mishap: Mishap | None = None
    pressure: Pressure = field(default_factory=Pressure)
    share: float = 1.0
    statuses: frozenset[int] = _REFUSALS
    uncalled: Allowances = field(default_factory=Allowances)
    must_answer_all: bool = False
    counts_budget: bool = False

    def mix_for(self, *, is_stream: bool) -> Mix:
        return replace(self.mix, tenant=RACERS[is_stream]) if self.counts_budget else self.mix

    def behaviour_of(self, simulator: str) -> Behaviour:
        return self.behaviours.get(simulator, well(simulator))


def well(simulator: str, **changes: object) -> Behaviour:
    """How a simulator behaves when nothing is wrong with it."""
    settings = {"seed": SEEDS[simulator], "num_tokens": NUM_TOKENS, "ttft_ms": 5.0, "tokens_per_s": 2000.0}
    return Behaviour.model_validate({**settings, **changes})


def all_scenarios() -> tuple[Scenario, ...]:
    return (_calm(), *(_fault(fault) for fault in Fault), *_clients(), *_mishaps(), _race())


def _calm() -> Scenario:
    return Scenario("calm", must_answer_all=True)


def _fault(fault: Fault) -> Scenario:
    """Slow faults get short deadlines, or a suite of them would take hours."""
    pace: dict[str, object] = {"tokens_per_s": 50.0} if fault is Fault.NEVER_FINISH else {}
    behaviours = {
        name: well(name, fault=fault, fault_rate=rate, fault_after_chunks=5, retry_after_s=1, **pace)
        for name, rate in FAULT_RATES.items()
    }
    deadline_s = 4.0 if fault in _WAITING else 12.0
    mix = Mix(
        _CLOUD_MODELS,
        least_deadline_s=deadline_s,
        most_deadline_s=deadline_s,
        calls_tool=fault is Fault.DIE_IN_TOOL_CALL,
    )
    statuses = _REFUSALS | {400} if fault is Fault.BAD_REQUEST else _REFUSALS
    # A reset may overtake the request that it answers: then the simulator has begun a call all the same.
    return Scenario(fault.value, mix, behaviours, (fault,), statuses=statuses)


def _clients() -> tuple[Scenario, ...]:
    slow_start = {name: well(name, ttft_ms=800.0) for name in CLOUDS}
    long_answers = {name: well(name, num_tokens=200, tokens_per_s=40.0) for name in CLOUDS}
    huge_answers = {name: well(name, num_tokens=1500, tokens_per_s=0.0) for name in CLOUDS}
    uncalled = Allowances(outcomes=frozenset({CANCELLED, TIMED_OUT}))
    models = {"cloud": 6.0, PRIMARY: 1.0, SPECIALIST: 2.0, FALLBACK: 1.0}
    return (
        Scenario(
            "slow_clients",
            Mix(models, max_tokens=2000, manner=Manner.SLOW_READER, manner_share=0.5),
            huge_answers,
        ),
        Scenario(
            "clients_leave_before_the_first_token",
            Mix(models, manner=Manner.LEAVES_EARLY, manner_share=0.7, least_leave_after=0.02, most_leave_after=0.6),
            slow_start,
            uncalled=uncalled,
        ),
        Scenario(
            "clients_leave_in_the_middle",
            Mix(
                models,
                max_tokens=200,
                manner=Manner.LEAVES_IN_STREAM,
                manner_share=0.7,
                least_leave_after=1.0,
                most_leave_after=4.0,
            ),
            long_answers,
            uncalled=uncalled,
        ),
        Scenario(
            "tiny_deadlines",
            Mix(models, least_deadline_s=0.001, most_deadline_s=0.6),
            {name: well(name, ttft_ms=100.0, tokens_per_s=100.0) for name in CLOUDS},
            uncalled=uncalled,
        ),
        Scenario(
            "local_slots_all_taken",
            Mix({"auto": 1.0, "local": 2.0}, 0.5, local_max_tokens=24, least_deadline_s=10.0),
            pressure=Pressure(concurrency=96),
            share=1.0,
        ),
    )


def _mishaps() -> tuple[Scenario, ...]:
    """Calls take a while under these, so that a mishap meets some that run."""
    flowing = {name: well(name, tokens_per_s=40.0, ttft_ms=50.0) for name in CLOUDS}
    died = Allowances(
        frozenset({ABANDONED, CANCELLED}), frozenset({"upstream_broken", "upstream_unreachable", "upstream_timed_out"})
    )
    uncalled = {
        Mishap.ROUTER_KILLED: died,
        Mishap.PROXY_KILLED: died,
        Mishap.SIMULATOR_KILLED: Allowances(error_codes=frozenset({"upstream_broken"})),
    }
    return tuple(
        Scenario(
            mishap.value,
            _mix_under(mishap),
            flowing,
            mishap=mishap,
            pressure=_pressure_under(mishap),
            share=1.5,
            uncalled=uncalled.get(mishap, Allowances()),
        )
        for mishap in Mishap
    )


def _mix_under(mishap: Mishap) -> Mix:
    if mishap in (Mishap.LOCAL_KILLED, Mishap.HEADROOM_GONE):
        return Mix({"auto": 3.0, "local": 1.0, "cloud": 2.0}, confidential_share=0.25)
    return Mix(_CLOUD_MODELS)


def _pressure_under(mishap: Mishap) -> Pressure:
    """Spare capacity is only missed by more requests than the local tier has slots for."""
    if mishap is Mishap.HEADROOM_GONE:
        return Pressure(concurrency=96, rate_per_s=60.0)
    return Pressure(concurrency=48, rate_per_s=20.0)


def _race() -> Scenario:
    """64 callers at once on one tenant's budget, which covers a part of what they ask for."""
    return Scenario(
        "racing_on_a_budget",
        Mix({"cloud": 1.0}, confidential_share=0.0),
        pressure=Pressure(concurrency=64),
        share=2.0,
        counts_budget=True,
    )
