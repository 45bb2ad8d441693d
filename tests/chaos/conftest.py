"""The sweep that nothing happens to, and how many rounds of chaos are asked for."""

from pathlib import Path

import pytest

from tests.chaos.disturbed import Sweep


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=20, help="sweeps that are disturbed at random")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "round_seed" in metafunc.fixturenames:
        metafunc.parametrize("round_seed", range(metafunc.config.getoption("--rounds")))


@pytest.fixture(scope="session")
def undisturbed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = Sweep(tiny_model, tmp_path_factory.mktemp("undisturbed"), "undisturbed").start()
    sweep.end(0)
    return sweep
