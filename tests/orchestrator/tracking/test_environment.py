"""What the code runs on, as tags."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tracking.environment import environment_tags
from tests.support.mlflow_runs import REPOSITORY


def test_another_repository_in_the_environment_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = environment_tags()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "__init__.py").touch()
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "another"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert environment_tags() == expected


def test_environment_tags_name_the_commit_and_the_versions() -> None:
    tags = environment_tags()
    assert tags["version.python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"version.torch", "version.ray", "version.mlflow", "host", "cpu.model", "cpu.count"} <= set(tags)
    assert all(isinstance(value, str) and value for value in tags.values())
    if (REPOSITORY / ".git").exists():
        assert re.fullmatch("[0-9a-f]{40}", tags["mlflow.source.git.commit"])
        assert tags["mlflow.source.git.dirty"] in ("true", "false")
