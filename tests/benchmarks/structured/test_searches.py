"""The benchmark of searches counts what a form costs, and tells why one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.structured.searches import CountingVocabulary, MadeTokenizer, cost, lines
from models.grammar.compiling import LOOKS_LONGEST, LOOKS_SHORTEST
from models.grammar.matching import LOOKS

SIZE = 600


@pytest.mark.parametrize("form", ["items", "(a|b){4000,5000}"])
def test_a_form_s_cost_is_counted_within_its_bounds(form: str) -> None:
    made: Any = MadeTokenizer(SIZE, seed=0)
    found = cost(form, CountingVocabulary(made, {SIZE - 1}), seed=0)
    assert found.refused is None
    assert 0 < found.measured <= LOOKS_SHORTEST + LOOKS_LONGEST
    assert 1 <= found.worst <= 1 + LOOKS
    assert (found.whole > 0) == (found.shortest is not None)
    assert f"| `{form}` |" in list(lines([found]))[-1]
