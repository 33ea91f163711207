"""Secrets come from the environment or a file, the first that holds a value, and are shown to nobody."""

import pickle
import string
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import given

from serve_app.settings.load import LoadedSettings
from serve_app.settings.problems import InvalidSettings
from serve_app.settings.schema import SecretRef
from serve_app.settings.secrets import MissingSecret, resolve_secret
from serve_app.settings.show import MASK, MISSING, effective_config
from tests.unit.settings.configurations import SECRETS, VALID, changed, line_in, load_text, problems_of

KEY = "    api_key: {env: OPENAI_API_KEY}\n"
OPTIONAL = changed(KEY, KEY + "    optional: true\n")
STAND_IN = (
    OPTIONAL.replace("    scaling: {min_replicas: 1}\n", "")
    .replace(
        "tiers:\n",
        "  sim:\n    stands_in_for: gpt-5\n    provider: sim\n    model: sim\n    context_window: 100\n"
        "    price: {input_usd_per_mtok: 0, output_usd_per_mtok: 0}\n    expected_ttft_s: 1\n"
        "    expected_tokens_per_s: 50\ntiers:\n",
        1,
    )
    .replace("[gpt-5]", "[gpt-5, sim]")
    .replace("providers:\n", "providers:\n  sim: {base_url: 'http://s', place: cloud}\n")
)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in SECRETS.items() if key != name}


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n", encoding="utf-8")
    ref = SecretRef(env="KEY", file=Path("key"))
    assert resolve_secret(ref, tmp_path, {"KEY": " from-env "}).get_secret_value() == "from-env"
    assert resolve_secret(ref, tmp_path, {"KEY": "  "}).get_secret_value() == "from-file"
    assert resolve_secret(ref, tmp_path, {}).get_secret_value() == "from-file"


def test_an_absolute_file_need_not_be_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("value", encoding="utf-8")
    ref = SecretRef(file=tmp_path / "key")
    assert resolve_secret(ref, Path("/elsewhere"), {}).get_secret_value() == "value"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "file key cannot be read (FileNotFoundError)"),
        (b"", "file key is empty"),
        (b" \n", "file key is empty"),
        (b"\xff", "file key cannot be read (UnicodeDecodeError)"),
    ],
)
def test_a_file_without_a_value_is_named_with_its_fault(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(MissingSecret) as caught:
        resolve_secret(SecretRef(env="KEY", file=Path("key")), tmp_path, {})
    assert str(caught.value) == f"environment variable KEY is not set; {says}"


def test_a_missing_secret_is_placed_and_its_near_miss_in_the_environment_named(tmp_path: Path) -> None:
    environment = {**without("OPENAI_API_KEY"), "OPENAI_APIKEY": "sk-near-miss-value", "HOME": "/root"}
    (problem,) = problems_of(tmp_path, VALID, environment=environment)
    assert (problem.key, problem.line) == ("providers.openai.api_key", line_in(VALID, "api_key"))
    assert problem.sentence == (
        "missing secret: environment variable OPENAI_API_KEY is not set; did you mean 'OPENAI_APIKEY'?"
    )


def test_names_in_the_environment_that_are_not_near_are_not_listed(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, VALID, environment={**without("ACME_KEY"), "SHELL": "/bin/sh"})
    assert problem.sentence == "missing secret: environment variable ACME_KEY is not set"


def test_a_tenants_key_is_needed_whatever_is_optional(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, OPTIONAL, environment={})
    assert problem.key == "tenants.acme.key"


def test_an_optional_provider_without_its_secret_is_left_out(tmp_path: Path) -> None:
    without_key = load_text(tmp_path, OPTIONAL, environment=without("OPENAI_API_KEY"))
    assert set(without_key.active_upstreams) == {"mistral-7b"}
    assert [upstream for _, upstream in without_key.tier_upstreams()] == ["mistral-7b"]
    assert set(load_text(tmp_path, OPTIONAL).active_upstreams) == {"mistral-7b", "gpt-5"}


def test_a_provider_without_a_key_needs_none(tmp_path: Path) -> None:
    text = changed(KEY, "    optional: true\n")
    assert "gpt-5" in load_text(tmp_path, text, environment=without("OPENAI_API_KEY")).active_upstreams


@pytest.mark.parametrize(("environment", "active"), [(SECRETS, "gpt-5"), (without("OPENAI_API_KEY"), "sim")])
def test_a_stand_in_takes_part_only_while_the_original_has_no_secret(
    tmp_path: Path, environment: dict[str, str], active: str
) -> None:
    assert set(load_text(tmp_path, STAND_IN, environment=environment).active_upstreams) == {"mistral-7b", active}


def test_a_configuration_of_which_no_upstream_is_left_is_refused(tmp_path: Path) -> None:
    raw = yaml.safe_load(OPTIONAL)
    del raw["upstreams"]["mistral-7b"], raw["tiers"]["LOCAL_FAST"]
    environment = without("OPENAI_API_KEY")
    (problem,) = problems_of(tmp_path, yaml.safe_dump(raw), environment=environment)
    assert problem.key == "upstreams"
    assert "without its secret" in problem.sentence


@pytest.mark.parametrize("pasted", ["sk-proj-0123456789", "uc key", "k:v", ""])
def test_a_secret_pasted_as_the_name_of_its_variable_is_refused_without_repeating_it(
    tmp_path: Path, pasted: str
) -> None:
    (problem,) = problems_of(tmp_path, changed("{env: ACME_KEY}", f"{{env: '{pasted}'}}"))
    assert problem.key == "tenants.acme.key.env"
    assert not pasted or pasted not in problem.sentence


def test_a_secret_pasted_in_the_place_of_its_reference_is_not_repeated(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, changed("{env: ACME_KEY}", "uc-pasted-value"))
    assert problem.key == "tenants.acme.key"
    assert "uc-pasted-value" not in problem.sentence


def shown(loaded: LoadedSettings) -> str:
    return yaml.safe_dump(effective_config(loaded)) + repr(effective_config(loaded))


def test_the_effective_configuration_masks_what_is_there_and_says_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS["OPENAI_API_KEY"])
    monkeypatch.delenv("ACME_KEY", raising=False)
    loaded = load_text(tmp_path, OPTIONAL)
    data = effective_config(loaded)
    assert data["providers"]["openai"]["api_key"] == {"env": "OPENAI_API_KEY", "file": None, "value": MASK}
    assert data["tenants"]["acme"]["key"]["value"] == MISSING
    assert SECRETS["OPENAI_API_KEY"] not in shown(loaded)


def test_the_effective_configuration_is_plain_data_with_defaults_and_who_takes_part(tmp_path: Path) -> None:
    data = effective_config(load_text(tmp_path, changed(KEY, "    optional: true\n")))
    assert yaml.safe_load(yaml.safe_dump(data)) == data
    assert data["limits"]["max_body_bytes"] == 10_000_000
    assert list(data["tiers"]) == ["LOCAL_FAST", "CLOUD_ENHANCED"]
    assert {name: upstream["active"] for name, upstream in data["upstreams"].items()} == {
        "mistral-7b": True,
        "gpt-5": True,
    }


ALPHABET = string.ascii_letters + string.digits + "-_"


def outcome_of(folder: Path, text: str, environment: dict[str, str]) -> LoadedSettings | InvalidSettings:
    try:
        return load_text(folder, text, environment=environment)
    except InvalidSettings as error:
        return error


@given(value=st.text(ALPHABET, min_size=12, max_size=60), is_file=st.booleans(), is_broken=st.booleans())
def test_no_secret_is_ever_in_a_message_a_repr_or_what_is_shown(
    tmp_path_factory: pytest.TempPathFactory, value: str, is_file: bool, is_broken: bool
) -> None:
    """The value ends as no other text does, so that none can hold it by chance."""
    secret, folder = f"zZ9{value}9Zz", tmp_path_factory.mktemp("settings")
    (folder / "key").write_text(secret, encoding="utf-8")
    text = changed("{env: ACME_KEY}", "{file: key}" if is_file else "{env: ACME_KEY}")
    if is_broken:
        text = text.replace("provider: openai", "provider: opanai").replace("{env: ACME_KEY}", "{env: ACME_KEYS}")
    environment = {"OPENAI_API_KEY": secret, "ACME_KEY": secret}
    outcome = outcome_of(folder, text, environment)
    assert isinstance(outcome, InvalidSettings) == is_broken
    if isinstance(outcome, InvalidSettings):
        assert secret not in str(outcome) + repr(outcome) + repr(outcome.problems)
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, held in environment.items():
            patch.setenv(name, held)
        resolved = outcome.secret(outcome.tree.tenants["acme"].key)
        assert resolved.get_secret_value() == secret
        assert secret not in repr(outcome) + str(outcome) + shown(outcome) + repr(resolved) + str(resolved)
    assert secret.encode() not in pickle.dumps(outcome)
