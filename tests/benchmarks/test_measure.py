"""What the GPU's stages compute, on engines that need no GPU; their figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.first_look import first_difference, greedy
from benchmarks.gpu.measure import closing_seconds
from benchmarks.gpu.scratch import RoomError, scratch_folder
from tests.support.engine_requests import tokens
from tests.support.exllama_stub import open_exllama


def test_closing_a_thought_is_timed_in_the_engine() -> None:
    engine = open_exllama(cells=512, page=8)
    found = closing_seconds(engine, tokens(20, 0), tokens(8, 1), lambda: None)
    assert found["plain_step_s"] > 0
    assert found["closing_s"] > 0
    assert engine.load().running == 0


def test_greedy_answers_come_in_the_order_of_their_prompts_and_end_at_the_stop() -> None:
    prompts = [tokens(length, seed) for seed, length in enumerate((5, 30, 12))]
    together = greedy(open_exllama(cells=2048, page=8), prompts, stop=3)
    alone = [greedy(open_exllama(cells=2048, page=8), [prompt], stop=3)[0] for prompt in prompts]
    assert together == alone
    assert all(3 not in answer[:-1] for answer in together)


@pytest.mark.parametrize(
    ("one", "other", "at"), [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1], [1, 2], 1), ([], [], None)]
)
def test_the_first_difference_is_where_tokens_or_ends_differ(one: list[int], other: list[int], at: int | None) -> None:
    assert first_difference(one, other) == at


def test_the_random_model_goes_to_a_folder_that_is_there(tmp_path: Path) -> None:
    folder, room = scratch_folder([tmp_path / "absent", tmp_path])
    assert folder == tmp_path
    assert room > 0
    with pytest.raises(RoomError, match="there is no folder"):
        scratch_folder([tmp_path / "absent"])
