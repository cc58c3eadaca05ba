"""The uniform numbers are numpy's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.uniform import uniform
from tests.support.engine_requests import search


@search(100)
@given(seed=st.integers(-(2**70), 2**70), position=st.integers(0, 2**40))
def test_numbers_are_those_of_numpy(seed: int, position: int) -> None:
    first, second = np.random.Generator(np.random.Philox(key=seed % 2**64, counter=position)).random(2)
    assert uniform(seed, position) == first
    assert uniform(seed, position, again=True) == second
