"""The explanation of a decision, from the demo configuration alone."""

from pathlib import Path

import pytest
import yaml

from serve_app.contracts.decision import Decision, Refusal
from serve_app.contracts.vocabulary import LOCAL, Alias, DataClass, Domain, DropReason, Place, Reason, Tier
from serve_app.explain import Explanation, explain, lines_of
from serve_app.settings.load import LoadedSettings, load_settings
from tests.fakes.processes import ROOT

GREETING = "Hello there!"
PROOF = (
    "Prove rigorously that there are infinitely many primes congruent to 3 modulo 4, state every lemma, "
    "and derive the shortest counterexample to the converse."
)


@pytest.fixture(scope="module")
def demo() -> LoadedSettings:
    return load_settings(ROOT / "configs" / "gateway.demo.yaml", require_secrets=False, environment={})


async def explained(
    loaded: LoadedSettings, prompt: str, data_class: DataClass = DataClass.PUBLIC, wanted: Alias | str = Alias.AUTO
) -> Explanation:
    return await explain(loaded, prompt, tenant_id="demo", data_class=data_class, wanted=wanted)


async def test_a_greeting_is_simple_and_stays(demo: LoadedSettings) -> None:
    explanation = await explained(demo, GREETING)
    assert isinstance(explanation.outcome, Decision)
    assert explanation.outcome.chosen.tier is Tier.LOCAL_FAST
    assert explanation.outcome.reason is Reason.SIMPLE
    assert explanation.facts.domain is Domain.SMALLTALK


async def test_a_proof_leaves_unless_it_is_confidential(demo: LoadedSettings) -> None:
    public = await explained(demo, PROOF)
    assert isinstance(public.outcome, Decision)
    assert public.outcome.chosen.tier is Tier.CLOUD_ENHANCED
    confidential = await explained(demo, PROOF, DataClass.CONFIDENTIAL)
    assert isinstance(confidential.outcome, Decision)
    assert {scored.candidate.upstream.place for scored in confidential.outcome.ranked} == {LOCAL}
    assert confidential.outcome.reason is Reason.LOCAL_ONLY


@pytest.mark.parametrize(("wanted", "place"), [(Alias.LOCAL, LOCAL), (Alias.CLOUD, Place("cloud"))])
async def test_an_alias_is_heeded(demo: LoadedSettings, wanted: Alias, place: Place) -> None:
    explanation = await explained(demo, GREETING, wanted=wanted)
    assert isinstance(explanation.outcome, Decision)
    assert explanation.outcome.chosen.upstream.place == place


async def test_a_model_that_is_not_there_is_a_refusal(demo: LoadedSettings) -> None:
    explanation = await explained(demo, GREETING, wanted="gpt-nobody")
    assert isinstance(explanation.outcome, Refusal)
    assert explanation.outcome.reason is DropReason.NOT_ASKED_FOR


async def test_an_unknown_tenant_is_an_error(demo: LoadedSettings) -> None:
    with pytest.raises(KeyError):
        await explain(demo, GREETING, tenant_id="nobody", data_class=DataClass.PUBLIC)


@pytest.mark.parametrize("prompt", ["", "\ud800", "é" * 100_000])
async def test_any_text_is_explained(demo: LoadedSettings, prompt: str) -> None:
    explanation = await explained(demo, prompt)
    assert explanation.facts.num_prompt_tokens >= 1
    assert lines_of(explanation)


async def test_a_configuration_without_any_active_upstream_is_a_refusal(tmp_path: Path) -> None:
    raw = yaml.safe_load((ROOT / "configs" / "gateway.demo.yaml").read_text(encoding="utf-8"))
    raw["upstreams"] = {"openai": raw["upstreams"]["openai"]}
    raw["providers"] = {"openai": raw["providers"]["openai"]}
    raw["tiers"] = {"CLOUD_ENHANCED": {**raw["tiers"]["CLOUD_ENHANCED"], "upstreams": ["openai"]}}
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    loaded = load_settings(path, require_secrets=False, environment={})
    explanation = await explained(loaded, GREETING)
    assert explanation.outcome == Refusal(DropReason.NOT_ASKED_FOR, (), is_local_only=False)


async def test_the_lines_tell_the_score_the_places_each_candidate_and_the_reason(demo: LoadedSettings) -> None:
    lines = lines_of(await explained(demo, GREETING))
    text = "\n".join(lines)
    assert lines[0].startswith("complexity  0.")
    assert lines[1].startswith("domain      smalltalk")
    assert lines[2] == "data class  public  -> may go to cloud, local"
    chosen = next(line for line in lines if line.startswith("CHOSEN"))
    assert chosen.split()[1:3] == ["LOCAL_FAST", "smollm2"]
    assert any(line.startswith("then 1") for line in lines)
    dropped = [line.split()[1:] for line in lines if line.startswith("dropped")]
    assert ["LOCAL_STANDARD", "smollm2", "same_upstream"] in dropped
    assert ["CLOUD_SPECIALIZED", "simulator", "no_specialist"] in dropped
    assert lines[-1] == "reason: simple"
    assert GREETING not in text


async def test_the_lines_of_a_refusal_say_why(demo: LoadedSettings) -> None:
    lines = lines_of(await explained(demo, PROOF, DataClass.CONFIDENTIAL, Alias.CLOUD))
    assert "REFUSED: no candidate is left (residency)" in lines
    assert not any(line.startswith(("CHOSEN", "reason")) for line in lines)
    assert sum(line.startswith("dropped") for line in lines) == 5
