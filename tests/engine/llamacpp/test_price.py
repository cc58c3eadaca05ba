"""What a row costs, and how many rows probes may have for it."""

from __future__ import annotations

import pytest

from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.options import LlamaOptions
from engine.llamacpp.price import CHANGES, PROBE, RowPrice, row_price
from tests.support.engines import needs_llama
from tests.support.tiny_ggufs import load_gguf


@pytest.mark.parametrize("running", [1, 8])
@pytest.mark.parametrize("change", [0.0, 0.004])
@pytest.mark.parametrize(("first", "more"), [(0.008, 0.0075), (0.010, 0.001), (0.010, 0.00001), (0.010, 0.02)])
def test_probes_with_so_many_rows_take_the_share_at_most(
    first: float, more: float, change: float, running: int
) -> None:
    price = RowPrice(first_s=first, more_s=more, change_s=change)
    tokens_s = (price.first_s + (running - 1) * price.more_s) / running  # of one thought's token
    probes_s = price.probe_rows(0.08) * (price.more_s + CHANGES / PROBE * change)
    assert probes_s <= 0.08 * (tokens_s + probes_s) + 1e-12


def test_a_row_that_costs_a_token_allows_a_tenth_of_a_row_for_each() -> None:
    assert RowPrice(first_s=0.01, more_s=0.01).probe_rows(0.08) == pytest.approx(0.08 / 0.92)


def test_cheap_rows_allow_many() -> None:
    assert RowPrice(first_s=0.01, more_s=0.0).probe_rows(0.08) > 1.0


def test_a_price_is_measured_of_a_model() -> None:
    needs_llama()
    price = row_price(load_gguf("gemma3", lambda _: pytest.fail("made here")), LlamaConfig())
    assert price.first_s > 0.0
    assert price.relative(8) > 0.0


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probe_share is 0\.0, must lie in \(0, 1\]"):
        LlamaOptions(probe_share=0.0)
