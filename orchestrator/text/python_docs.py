"""English prose that is on every machine with Python: its language reference, and the docstrings of its libraries.

The order is a function of the environment: first a seeded shuffle of the topics of `pydoc_data` and the modules of the
standard library, then the modules of the installed packages, sorted by path. Files are parsed only as they are reached,
and never imported.
"""

import ast
import hashlib
import inspect
import random
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

_SEED = 0
_MIN_CHARS = 200
_SKIPPED_DIRECTORIES = {"__pycache__", "idle_test", "lib2to3", "site-packages", "test", "tests"}


def python_docs() -> Iterator[str]:
    """Documents of at least 200 characters, none twice: one topic, or the docstrings of one module joined."""
    seen: set[bytes] = set()
    for text in _texts():
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        if len(text) >= _MIN_CHARS and digest not in seen:
            seen.add(digest)
            yield text


def environment_identity() -> str:
    """A string that changes when Python or an installed package does."""
    packages = sorted(path.name for path in _site_packages().glob("*.dist-info"))
    return hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()


def _texts() -> Iterator[str]:
    standard = Path(sysconfig.get_paths()["stdlib"])
    sources: list[tuple[str, Path | None]] = [(topic, None) for topic in sorted(topics)]
    sources += [(path.relative_to(standard).as_posix(), path) for path in _modules(standard)]
    random.Random(_SEED).shuffle(sources)
    for name, path in sources:
        yield topics[name].strip() if path is None else _docstrings(path)
    for path in _modules(_site_packages()):
        yield _docstrings(path)


def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


def _modules(directory: Path) -> Iterator[Path]:
    """Python files below the directory in sorted order."""
    for path in sorted(directory.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name not in _SKIPPED_DIRECTORIES:
            yield from _modules(path)
        elif path.suffix == ".py" and path.is_file():
            yield path


def _docstrings(path: Path) -> str:
    """The docstrings of a module, its classes and its functions, joined; empty for a file that is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about other people's code
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ""
    return "\n\n".join(_walk(tree))


def _walk(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    docstring = ast.get_docstring(node, clean=False)
    if docstring:
        yield inspect.cleandoc(docstring)
    if isinstance(node, ast.Module | ast.ClassDef):  # what is local to a function is rarely documented
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child)
