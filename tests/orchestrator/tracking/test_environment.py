"""What the code runs on, as tags."""

import re
import sys

from orchestrator.tracking.environment import environment_tags
from tests.support.mlflow_runs import REPOSITORY


def test_environment_tags_name_the_commit_and_the_versions() -> None:
    tags = environment_tags()
    assert tags["version.python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"version.torch", "version.ray", "version.mlflow", "host", "cpu.model", "cpu.count"} <= set(tags)
    assert all(isinstance(value, str) and value for value in tags.values())
    if (REPOSITORY / ".git").exists():
        assert re.fullmatch("[0-9a-f]{40}", tags["git.commit"])
        assert tags["git.dirty"] in ("true", "false")
