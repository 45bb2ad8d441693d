"""Tests that take many minutes: collected only where they are asked for, `pytest -m scale`."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if "scale" in config.getoption("markexpr") else True
