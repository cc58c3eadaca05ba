"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start: several spin against one another
hypothesis.settings.load_profile("ci")  # the same examples everywhere, however long a machine takes for one


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small models are fastest on one thread, and the tests leave the other cores alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
