"""Imports point inwards: import-linter's contracts hold, and each of them fails when it is broken."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.fakes.processes import ROOT

PACKAGES = ("serve_app", "deployments", "loadtests")
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
OUTSIDE_THE_LAYERS = {"demo"}
"""`serve_app.demo` sets the machine up: it runs before, and apart from, everything that the layers order."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command: list[Path | str] = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and their contracts where a test may break them."""
    only_code = shutil.ignore_patterns("__pycache__", "*.onnx", "*.json", "*.md")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=only_code)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert f"{len(CONFIG['contracts'])} kept, 0 broken" in result.stdout


def test_a_copy_is_judged_like_the_original(copy: Path) -> None:
    assert lint(copy).returncode == 0


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("serve_app/routing/filters.py", "import serve_app.privacy.residency", "Imports point inwards"),
        ("serve_app/contracts/tenant.py", "import serve_app.routing.policy", "Imports point inwards"),
        ("serve_app/pipeline/trail.py", "import deployments.options", "Imports point inwards"),
        ("serve_app/errors.py", "import serve_app.contracts.fleet", "Imports point inwards"),
        ("serve_app/routing/decide.py", "import ray", "What decides knows neither Ray"),
        ("serve_app/privacy/residency.py", "import httpx", "What decides knows neither Ray"),
        ("serve_app/assembly/parts.py", "import serve_app.classification.training", "never loads what training needs"),
        ("serve_app/telemetry/metrics.py", "import ray", "Ray is known to the deployments"),
        ("loadtests/simulator/app.py", "import serve_app.errors", "Load tests are a black-box client"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(copy: Path, module: str, statement: str, contract: str) -> None:
    path = copy / module
    path.write_text(path.read_text(encoding="utf-8") + f"\n{statement}\n", encoding="utf-8")
    result = lint(copy)
    assert result.returncode == 1
    broken = [line for line in result.stdout.splitlines() if line.rstrip().endswith("BROKEN")]
    assert any(contract in line for line in broken), result.stdout


def test_every_module_of_the_product_stands_in_a_layer() -> None:
    layers = next(contract for contract in CONFIG["contracts"] if contract["type"] == "layers")["layers"]
    named = {module.strip() for layer in layers for module in layer.split("|")}
    there = {path.stem for path in (ROOT / "serve_app").iterdir() if path.suffix == ".py" or _is_package(path)}
    assert {f"serve_app.{name}" for name in there - {"__init__"} - OUTSIDE_THE_LAYERS} <= named


def test_nothing_imports_what_stands_outside_the_layers() -> None:
    sources = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.parts[-2] not in OUTSIDE_THE_LAYERS
    ]
    for name in OUTSIDE_THE_LAYERS:
        imports = re.compile(rf"^\s*(?:from|import) serve_app(?:\.| import .*\b){name}\b", re.MULTILINE)
        assert not [path for path in sources if imports.search(path.read_text(encoding="utf-8"))]


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()
