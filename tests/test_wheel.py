"""The wheel that people install: every module, the C sources and the page of latents are in it, and work from there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kernels", "models", "orchestrator", "sweeps")

USE = """
import importlib, pathlib, sys

names = sys.argv[2:]
for name in names:
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(sys.argv[1]), f"{name} comes from {module.__file__}"

import torch
from kernels.cpu import native
from models import SparseCoder, SparseCoderConfig
from orchestrator.scores.latent_page import latents_page
from orchestrator.scores.latents import CoderPage

assert native.library() is not None, "the C sources do not compile"
SparseCoder(8, SparseCoderConfig(variant="mp", num_latents=16, k=2))(torch.randn(4, 8)).fvu.backward()
assert "<style>:root" in latents_page(CoderPage("run", {}, {}, ()))
print(len(names), "modules")
"""


def run(*command: str, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False, env=clean
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def modules() -> list[str]:
    """Names of all modules in the repository's packages."""
    paths = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    dotted = [".".join(path.with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in dotted]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new virtual environment with the wheel and, beside it, what this one has installed."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(place), str(source), cwd=place)
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    there = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=place).strip())
    (wheel,) = place.glob("*.whl")
    run(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel), cwd=place)
    # A path in a .pth file is searched last and its own .pth files are not read, so no editable install shows through.
    (there / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    return python


def test_every_module_and_the_c_sources_come_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = run(str(installed), "-c", USE, str(installed.parents[1]), *modules(), cwd=tmp_path)
    assert said == f"{len(modules())} modules\n"
