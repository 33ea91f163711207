"""What is wrong with a configuration is found, placed on its line, and said with the nearest valid name."""

from pathlib import Path

import pytest

from serve_app.contracts.vocabulary import DataClass, Tier
from serve_app.settings.load import load_settings, model_cache
from serve_app.settings.problems import InvalidSettings
from tests.fakes.processes import ROOT
from tests.unit.settings.configurations import SECRETS, VALID, changed, line_in, load_text, problems_of

WEIGHTS = "  weights: {quality: 0.7, cost: 0.15}\n"


def test_a_valid_configuration_loads(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, VALID)
    assert loaded.path == (tmp_path / "gateway.yaml").resolve()
    assert set(loaded.active_upstreams) == {"mistral-7b", "gpt-5"}
    assert list(loaded.tier_upstreams()) == [(Tier.LOCAL_FAST, "mistral-7b"), (Tier.CLOUD_ENHANCED, "gpt-5")]
    tenant = loaded.tree.tenants["acme"]
    assert (tenant.tiers, tenant.default_data_class) == (frozenset(Tier), DataClass.PERSONAL)


def test_paths_start_at_the_file_and_model_folders_at_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPCOACH_CACHE", str(tmp_path / "cache"))
    loaded = load_text(tmp_path, VALID)
    assert loaded.resolve_path(Path("models/m.json")) == tmp_path.resolve() / "models/m.json"
    assert loaded.resolve_path(Path("/abs/m.json")) == Path("/abs/m.json")
    assert loaded.model_folder(Path("m")) == tmp_path / "cache" / "m"
    assert loaded.model_folder(Path("/models/m")) == Path("/models/m")


def test_the_model_cache_follows_the_environment() -> None:
    assert model_cache({"UPCOACH_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert model_cache({"XDG_CACHE_HOME": "/b"}) == Path("/b/upcoach")
    assert model_cache({}) == Path("~/.cache").expanduser() / "upcoach"


@pytest.mark.parametrize(
    ("old", "new", "key", "hint"),
    [
        ("version: 1\n", "version: 1\nruting: {}\n", "ruting", "did you mean 'routing'?"),
        ("quality: 0.7,", "qualty: 0.7,", "routing.weights.qualty", "did you mean 'quality'?"),
        ("    place: cloud\n", "    place: cloud\n    optionl: true\n", "providers.openai.optionl", "'optional'?"),
        ("{min_replicas: 1}", "{min_replica: 1}", "providers.openai.scaling.min_replica", "'min_replicas'?"),
        ("{env: ACME_KEY}", "{env: ACME_KEY, fille: x}", "tenants.acme.key.fille", "'file'?"),
        ("      accelerator: cpu\n", "      accelerator: cpu\n      bundel: []\n", "local.bundel", "'bundles'?"),
        ("output_usd_per_mtok: 2}", "output_usd_per_mtok: 2, x: 1}", "gpt-5.price.x", "valid: input_usd_per_mtok"),
        ("deadline_s: 60,", "deadline_s: 60, deadline_ms: 1,", "CLOUD_ENHANCED.deadline_ms", "'deadline_s'?"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_one(
    tmp_path: Path, old: str, new: str, key: str, hint: str
) -> None:
    text = changed(old, new)
    (problem,) = problems_of(tmp_path, text)
    assert problem.key.endswith(key)
    assert problem.line == line_in(text, key.rpartition(".")[2] + ":")
    assert problem.sentence.startswith("unknown key; ")
    assert hint in problem.sentence


@pytest.mark.parametrize(
    ("old", "new", "key", "at", "says"),
    [
        ("version: 1\n", "", "version", None, "this key is missing"),
        ("    context_window: 8192\n", "", "upstreams.mistral-7b.context_window", "mistral-7b:", "missing"),
        (", output_usd_per_mtok: 2}", "}", "upstreams.gpt-5.price.output_usd_per_mtok", "usd_per_mtok: 1}", "missing"),
        ("context_window: 8192", "context_window: lots", "mistral-7b.context_window", "lots", "valid integer"),
        ("context_window: 8192", "context_window: 0", "mistral-7b.context_window", "context_window: 0", "greater"),
        ("deadline_s: 20,", "deadline_s: -1,", "tiers.LOCAL_FAST.deadline_s", "deadline_s: -1", "greater than 0"),
        ("place: cloud\n", "place: [cloud]\n", "providers.openai.place", "place: [cloud]", "valid string"),
        ("[chat, tools]", "[chat, toolz]", "mistral-7b.capabilities.1", "toolz", "not a valid value; expected 'chat'"),
        ("confidential: [local]", "confidential: local", "places.confidential", "confidential: local", "valid frozen"),
        ("LOCAL_FAST:", "LOCAL_FASTT:", "tiers.LOCAL_FASTT", "LOCAL_FASTT", "not a tier; did you mean 'LOCAL_FAST'?"),
        (
            "places: [local, cloud]\n",
            "places: [local, cloud]\n    tiers: [FAST]\n",
            "tiers.0",
            "[FAST]",
            "not a tier; valid: CLOUD_ENHANCED",
        ),
        ("version: 1", "version: 2", "version", "version: 2", "Input should be 1"),
        ("https://api.openai.test/v1", "ftp://x", "providers.openai.base_url", "ftp", "should match pattern"),
        ("  acme:", "  Acme Corp:", "tenants.Acme Corp", "Acme Corp", "should match pattern"),
        (
            "  LOCAL_FAST: {upstreams: [mistral-7b]",
            "  LOCAL_FAST: {upstreams: []",
            "LOCAL_FAST.upstreams",
            "[]",
            "at lea",
        ),
        ("place: cloud\n", "place: local\n", "providers.openai", "openai:", "a provider's place cannot be 'local'"),
        ("    provider: openai\n", "", "upstreams.gpt-5", "gpt-5:", "either 'provider' or 'local'"),
        ("{env: ACME_KEY}", "{}", "tenants.acme.key", "key: {}", "name an environment variable (env) or a file"),
        ("{min_replicas: 1}", "{min_replicas: 3}", "openai.scaling", "min_replicas: 3", "larger than max_replicas"),
        ("confidential: [local]", "confidential: [cloud]", "privacy", "privacy:", "confidential data may only"),
        ("    confidential: [local]\n", "", "privacy", "privacy:", "no places stated for 'confidential'"),
        (WEIGHTS, "  weights: {quality: 0.5}\n", "routing.weights", "weights:", "at least twice"),
        (WEIGHTS, "  weights: {quality: .nan}\n", "routing.weights.quality", ".nan", "greater than 0"),
        (WEIGHTS, "  fast_share: 0.6\n", "routing", "routing:", "fast_share is a part of target_local_share"),
        (WEIGHTS, "  target_local_share: 1.5\n", "routing.target_local_share", "1.5", "less than or equal to 1"),
    ],
)
def test_a_value_that_is_missing_or_wrong_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, key: str, at: str | None, says: str
) -> None:
    text = changed(old, new)
    (problem,) = problems_of(tmp_path, text)
    assert problem.key.endswith(key)
    assert problem.line == (None if at is None else line_in(text, at))
    assert says in problem.sentence


@pytest.mark.parametrize(
    ("old", "new", "key", "line_of", "sentence"),
    [
        (
            "[mistral-7b]",
            "[mistral-7b, mistral-8b]",
            "tiers.LOCAL_FAST.upstreams.1",
            "mistral-8b",
            "no upstream is named 'mistral-8b'; did you mean 'mistral-7b'?",
        ),
        (
            "[mistral-7b]",
            "[mistral-7b, gpt-5]",
            "tiers.LOCAL_FAST.upstreams.1",
            "[mistral-7b, gpt-5]",
            "LOCAL_FAST needs a local model, and 'gpt-5' is not one",
        ),
        (
            "[gpt-5]",
            "[gpt-5, mistral-7b]",
            "tiers.CLOUD_ENHANCED.upstreams.1",
            "[gpt-5, mistral-7b]",
            "CLOUD_ENHANCED needs a provider, and 'mistral-7b' is not one",
        ),
        (
            "    model: gpt-5\n",
            "    model: gpt-5\n    stands_in_for: mistral-7\n",
            "upstreams.gpt-5.stands_in_for",
            "stands_in_for",
            "no other upstream is named 'mistral-7'; did you mean 'mistral-7b'?",
        ),
        (
            "    model: gpt-5\n",
            "    model: gpt-5\n    stands_in_for: gpt-5\n",
            "upstreams.gpt-5.stands_in_for",
            "stands_in_for",
            "no other upstream is named 'gpt-5'; valid: mistral-7b",
        ),
        (
            "    places: [local, cloud]\n",
            "    places: [local, cloud, clod]\n",
            "tenants.acme.places",
            "clod]",
            "no upstream is in 'clod'; did you mean 'cloud'?",
        ),
        (
            "    personal: [local, cloud]\n",
            "    personal: [local, mars]\n",
            "privacy.places.personal",
            "mars",
            "no upstream is in 'mars'; valid: cloud, local",
        ),
        (
            "  CLOUD_ENHANCED: {upstreams: [gpt-5], deadline_s: 60, max_output_tokens: 512}\n",
            "",
            "upstreams.gpt-5",
            "  gpt-5:",
            "no tier uses this upstream, so it does nothing",
        ),
        (
            "upstreams:\n  mistral",
            "  idle: {base_url: 'http://x', place: cloud}\nupstreams:\n  mistral",
            "providers.idle",
            "idle:",
            "no upstream uses this provider, so it does nothing",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, key: str, line_of: str, sentence: str
) -> None:
    text = changed(old, new)
    (problem,) = problems_of(tmp_path, text)
    assert (problem.key, problem.line, problem.sentence) == (key, line_in(text, line_of), sentence)


def test_a_provider_that_is_misspelt_is_idle_as_well(tmp_path: Path) -> None:
    text = changed("provider: openai", "provider: opanai")
    broken, idle = problems_of(tmp_path, text)
    assert broken.sentence == "no provider is named 'opanai'; did you mean 'openai'?"
    assert broken.line == line_in(text, "opanai")
    assert idle.key == "providers.openai"


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = changed("version: 1\n", "version: 1\nlimts: {}\n").replace("deadline_s: 20", "deadline: 20")
    assert [problem.key for problem in problems_of(tmp_path, text)] == [
        "tiers.LOCAL_FAST.deadline_s",
        "tiers.LOCAL_FAST.deadline",
        "limts",
    ]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (VALID + "version: 1\n", "version"),
        (changed("    place: cloud\n", "    place: cloud\n    place: cloud\n"), "providers.openai.place"),
        (changed("{CPU: 1}", "{CPU: 1, CPU: 2}"), "upstreams.mistral-7b.local.bundles.0.CPU"),
    ],
)
def test_a_key_that_stands_twice_is_an_error(tmp_path: Path, text: str, key: str) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert (problem.key, problem.sentence) == (key, "this key stands here twice")
    name = key.rpartition(".")[2] + ":"
    assert problem.line == max(number for number, line in enumerate(text.splitlines(), 1) if name in line)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "must hold a mapping"),
        ("# nothing\n", None, "must hold a mapping"),
        ("- a\n- b\n", None, "must hold a mapping"),
        ("just words", None, "must hold a mapping"),
        ("version: 1\n  router: [\n", 2, "not valid YAML: mapping values are not allowed here"),
        ("version: [1\n", 2, "not valid YAML"),
        ("version: 1\nrouter: !mine x\n", 2, "could not determine a constructor for the tag '!mine'"),
        ("version: 1\n? [a, b]\n: c\n", 2, "unhashable key"),
        ("version: \x00\n", None, "not valid YAML: unreadable"),
        ("version: 2026-13-45\n", None, "looks like a date or a number"),
        ("router: &r {scaling: *r}\n", None, "holds itself"),
        ("[" * 5000, None, "nested too deep"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused_in_one_line(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    (problem,) = problems_of(tmp_path, text)
    assert (problem.key, problem.line) == ("(file)", line)
    assert says in problem.sentence
    assert "\n" not in problem.sentence


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"version: \xff\n")
    with pytest.raises(InvalidSettings, match=r"cannot be read \(UnicodeDecodeError\)"):
        load_settings(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"cannot be read \(IsADirectoryError\)"):
        load_settings(tmp_path)


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "gateway.demo.yaml").write_text(VALID, encoding="utf-8")
    with pytest.raises(InvalidSettings, match=r"no such file; did you mean 'gateway\.demo\.yaml'\?"):
        load_settings(tmp_path / "gatway.demo.yaml")


def test_a_missing_file_in_a_missing_folder_is_just_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"no such file$"):
        load_settings(tmp_path / "nowhere" / "gateway.yaml")


def test_a_message_names_file_line_key_and_fault(tmp_path: Path) -> None:
    text = changed("deadline_s: 20", "deadlines: 20")
    with pytest.raises(InvalidSettings) as caught:
        load_text(tmp_path, text)
    file, number = tmp_path.resolve() / "gateway.yaml", line_in(text, "deadlines")
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}:{number}: tiers.LOCAL_FAST.deadline_s: ")
    assert second.startswith(f"{file}:{number}: tiers.LOCAL_FAST.deadlines: unknown key; did you mean 'deadline_s'?")


@pytest.mark.parametrize("name", ["gateway.yaml", "gateway.demo.yaml"])
def test_the_committed_configurations_are_valid_without_their_secrets(name: str) -> None:
    loaded = load_settings(ROOT / "configs" / name, require_secrets=False, environment={})
    assert {tier for tier, _ in loaded.tier_upstreams()} == set(Tier)


def test_the_demo_needs_no_secret_but_its_tenants_key() -> None:
    loaded = load_settings(ROOT / "configs" / "gateway.demo.yaml", environment={"UPCOACH_DEMO_KEY": "k"})
    assert "openai" not in loaded.active_upstreams
    assert "simulator" in loaded.active_upstreams


def test_the_settings_cannot_be_changed_once_loaded(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, VALID)
    with pytest.raises(ValueError, match="frozen"):
        loaded.tree.limits.max_json_depth = 1  # type: ignore[misc]


def test_secrets_may_be_left_unchecked(tmp_path: Path) -> None:
    assert load_text(tmp_path, VALID, environment={}, require_secrets=False).tree.version == 1
    assert len(problems_of(tmp_path, VALID, environment={})) == len(SECRETS)


def test_a_ledger_in_each_of_several_routers_is_refused(tmp_path: Path) -> None:
    text = changed("version: 1\n", "version: 1\nledger: {placement: inline}\nrouter: {scaling: {max_replicas: 2}}\n")
    (problem,) = problems_of(tmp_path, text)
    assert "a ledger of its own" in problem.sentence
