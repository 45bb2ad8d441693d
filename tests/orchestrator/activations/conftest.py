"""Tokens of a small table."""

import numpy as np
import pytest

from tests.support.tables import L, N


@pytest.fixture(scope="module")
def tokens_NL() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5000, (N, L), dtype=np.int32)
