"""A folder is its manifest's or it is refused, and the refusal names every file at fault."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.integrity.manifest import Manifest, ModelRejected, describe, read_manifest, verify, verify_model

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return folder


def faults_of(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    with pytest.raises(ModelRejected) as caught:
        verify(folder, manifest)
    return caught.value.faults


def test_a_folder_matches_the_manifest_made_of_it(model: Path) -> None:
    manifest = describe(model)
    assert manifest.name == "model"
    assert set(manifest.files) == {"config.json", "tokenizer/vocab.txt", "weights.safetensors"}
    verify(model, manifest)


def test_one_flipped_bit_is_named(model: Path) -> None:
    manifest = describe(model)
    weights = bytearray((model / "weights.safetensors").read_bytes())
    weights[5000] ^= 1
    (model / "weights.safetensors").write_bytes(weights)
    assert faults_of(model, manifest) == ("weights.safetensors: changed (SHA-256 differs)",)


def test_a_truncated_file_is_named_with_both_sizes(model: Path) -> None:
    manifest = describe(model)
    (model / "weights.safetensors").write_bytes(b"short")
    assert faults_of(model, manifest) == ("weights.safetensors: 5 bytes instead of 10240",)


def test_an_added_file_is_refused(model: Path) -> None:
    manifest = describe(model)
    (model / "modeling_evil.py").write_text("import os")
    assert faults_of(model, manifest) == ("modeling_evil.py: not in the manifest",)


def test_a_missing_file_is_refused(model: Path) -> None:
    manifest = describe(model)
    (model / "config.json").unlink()
    assert faults_of(model, manifest) == ("config.json: missing",)


def test_every_fault_is_named_at_once(model: Path) -> None:
    manifest = describe(model)
    (model / "config.json").unlink()
    (model / "extra").write_text("")
    (model / "tokenizer" / "vocab.txt").write_text("a\nc\n")
    assert len(faults_of(model, manifest)) == 3


def test_a_linked_folder_is_refused_because_its_content_is_out_of_sight(model: Path, tmp_path: Path) -> None:
    manifest = describe(model)
    (tmp_path / "elsewhere").mkdir()
    (model / "plugins").symlink_to(tmp_path / "elsewhere")
    assert faults_of(model, manifest) == ("plugins: not in the manifest",)
    with pytest.raises(ModelRejected, match="plugins: not a plain file"):
        describe(model)


def test_a_linked_file_counts_as_the_file_it_points_at(model: Path, tmp_path: Path) -> None:
    manifest = describe(model)
    (model / "config.json").rename(tmp_path / "blob")
    (model / "config.json").symlink_to(tmp_path / "blob")
    verify(model, manifest)


def test_a_path_that_climbs_out_of_the_folder_is_just_missing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("{}")
    manifest = describe(model)
    stolen = manifest.model_copy(update={"files": {**manifest.files, "../outside": manifest.files["config.json"]}})
    assert faults_of(model, stolen) == ("../outside: missing",)


def test_an_absent_folder_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelRejected, match="cannot be read"):
        verify(tmp_path / "nowhere", describe(model))


def test_an_empty_folder_has_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="holds no file"):
        describe(tmp_path)


def test_verify_model_reads_the_committed_form(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(describe(model).to_json())
    verify_model(model, path)
    (model / "config.json").write_text("[]")
    with pytest.raises(ModelRejected, match=r"config\.json"):
        verify_model(model, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"name": "m", "files": {}}',
        '{"name": "m", "files": {"a": {"sha256": "ABC", "num_bytes": 1}}}',
        '{"name": "m", "files": {"a": {"sha256": "' + "0" * 64 + '", "num_bytes": -1}}}',
        '{"name": "m", "files": {"a": {"sha256": "' + "0" * 64 + '", "num_bytes": 1}}, "signed": true}',
    ],
)
def test_a_malformed_manifest_verifies_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ModelRejected):
        read_manifest(path)


def test_an_absent_manifest_verifies_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="cannot be read"):
        read_manifest(tmp_path / "manifest.json")


def test_the_rejection_survives_the_way_between_two_actors() -> None:
    error = pickle.loads(pickle.dumps(ModelRejected("/models/m", ("a: missing",))))  # noqa: S301 - our own bytes
    assert str(error) == "the model in /models/m does not match its manifest: a: missing"


def test_the_committed_demo_manifest_is_in_its_committed_form() -> None:
    path = PROJECT / "configs" / "models" / "smollm2-135m-instruct.json"
    manifest = read_manifest(path)
    assert manifest.to_json() == path.read_text()
    assert "model.safetensors" in manifest.files


@given(before=st.binary(max_size=200), after=st.binary(max_size=200))
def test_a_file_verifies_exactly_when_its_bytes_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, after: bytes
) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "w").write_bytes(before)
    manifest = describe(folder)
    (folder / "w").write_bytes(after)
    try:
        verify(folder, manifest)
    except ModelRejected:
        assert before != after
    else:
        assert before == after
