"""What is llama.cpp's own: number formats, windows, recurrent layers, failures, and which engine a file gets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.base import (
    CapacityError,
    EngineBrokenError,
    Finished,
    FinishReason,
    UnsupportedError,
    UnsupportedModelError,
)
from engine.fitting.fit import fitted
from engine.gguf.convert import StoredType, convert
from engine.llamacpp.config import FlashAttention, KVType, LlamaConfig
from engine.llamacpp.context import DecodeError, LlamaContext, TokenRow
from engine.llamacpp.engine import LlamaEngine
from engine.llamacpp.model import LlamaModel, LoadSettings
from engine.llamacpp.options import LlamaOptions
from engine.registry import AutoOptions, check_gguf, chosen, engine_options, open_engine
from tests.support.engine_requests import decode, request, spec, tokens
from tests.support.engines import engine_under_test, finish, needs_llama, probed
from tests.support.ledger import Ledger
from tests.support.processes import ENVIRONMENT
from tests.support.row_counts import counting
from tests.support.tiny_ggufs import WINDOW, load_gguf, save_gguf
from tests.support.tiny_models import Oracle, save_model

EXACT = {"kv_type": KVType.F32, "flash_attention": FlashAttention.OFF}


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    needs_llama()


@pytest.fixture(scope="module")
def windowed() -> LlamaModel:
    return load_gguf("gemma3", lambda _: pytest.fail("made here"))


def logits(model: LlamaModel, text: tuple[int, ...], **options: Any) -> np.ndarray:
    """The logits after each token of a text."""
    context = LlamaContext(model, LlamaConfig(cells=256, max_batch=1, prefill_chunk=4, **options), ids=64)
    rows = [TokenRow(token, at, (0,), True) for at, token in enumerate(text)]
    return context.decode(rows).copy()  # which outlives the context


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The least correlation of two texts' logits at the same place."""
    return min(float(np.corrcoef(a, b)[0, 1]) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_in_float32_it_decodes_what_transformers_decodes(
    architecture: str, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> None:
    under_test = engine_under_test(f"llamacpp-{architecture}", model_directory, oracle_of)
    ledger = Ledger(under_test.open(512, 4, 16))
    sequences = [ledger.submit(request(5 + 20 * i, 24, seed=i)) for i in range(4)]
    for _ in range(10):
        ledger.step()
    ledger.fork(sequences[0], spec(), back=2)
    ledger.adopt(sequences[0], probed(ledger).probe, keep=5)
    finish(ledger, under_test)


@pytest.mark.parametrize(("stored", "least"), [(StoredType.F16, 0.9999), (StoredType.Q8_0, 0.995)])
def test_short_numbers_of_weights_change_logits_a_little(
    stored: StoredType, least: float, model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> None:
    file = model_directory("qwen3") / f"{stored}.gguf"
    for _ in convert(model_directory("qwen3"), file, stored, tokenizer=False):
        pass
    text = tokens(60, 3)
    assert (
        alike(logits(LlamaModel(file, LoadSettings(repack=False)), text, **EXACT), oracle_of("qwen3").logits(text))
        > least
    )


@pytest.mark.parametrize(("kind", "least"), [(KVType.F16, 0.9999), (KVType.Q8_0, 0.995), (KVType.Q4_0, 0.8)])
def test_short_numbers_of_the_cache_change_logits_a_little(
    kind: KVType, least: float, model_directory: Callable[[str], Path]
) -> None:
    model, text = load_gguf("qwen3", model_directory), tokens(60, 3)
    assert alike(logits(model, text, kv_type=kind), logits(model, text, **EXACT)) > least


def test_more_rows_than_one_call_takes_give_the_logits_that_they_give_alone(windowed: LlamaModel) -> None:
    context = LlamaContext(windowed, LlamaConfig(cells=256, max_batch=1, prefill_chunk=4, **EXACT), ids=64)
    texts = [tokens(30, seed) for seed in range(4)]
    rows = [
        TokenRow(token, at, (sequence,), at == 29)
        for sequence, text in enumerate(texts)
        for at, token in enumerate(text)
    ]
    together = context.decode(rows)
    for text, found in zip(texts, together, strict=True):
        assert np.allclose(found, logits(windowed, text, **EXACT)[-1], atol=1e-3)


def test_a_quantised_cache_without_flash_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_type is q8_0, which needs flash attention, but flash_attention is never"):
        LlamaOptions(kv_type=KVType.Q8_0, flash_attention=FlashAttention.OFF)


HUGE = """
import resource, sys
from pathlib import Path
from engine.base import CapacityError
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.context import LlamaContext
from engine.llamacpp.model import LlamaModel
model = LlamaModel(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    LlamaContext(model, LlamaConfig(cells=(1 << 31) - 256, max_batch=1), ids=3)
except CapacityError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory so")
def test_a_cache_for_which_there_is_no_memory_is_refused_with_what_may_help(tmp_path: Path) -> None:
    file = save_gguf(tmp_path / "model.gguf", "gemma3")
    line = [sys.executable, "-c", HUGE, str(file)]
    ran = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot make a cache of 2147483392 cells of f16: " in ran.stdout
    assert ran.stdout.endswith("; fewer `--cells` may fit\n")


def test_more_sequences_than_llama_cpp_tells_apart_are_refused(windowed: LlamaModel) -> None:
    with pytest.raises(CapacityError, match="max_batch is 100, must be at most 85"):
        LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=100))


def test_a_probe_some_tokens_back_sees_the_whole_window_after_others_came_and_went(
    model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> None:
    """The cache is searched for cells all round: the last newcomer comes to those behind the old one's window."""
    under_test = engine_under_test("llamacpp-gemma3", model_directory, oracle_of)
    ledger = Ledger(under_test.open(256, 4, 128))
    old = ledger.submit(request(60, 100, seed=1))
    ledger.step()
    for newcomer in (40, 40, 70, 60):
        ledger.submit(request(newcomer, 2, seed=newcomer))
        for _ in range(4):
            ledger.step()
    ledger.submit(request(50, 2, seed=50))
    ledger.step()
    ledger.fork(old, spec(), back=WINDOW - 2)
    ledger.adopt(old, probed(ledger).probe, keep=2)
    finish(ledger, under_test)


def test_a_recurrent_model_refuses_to_fork_back_by_name(
    model_directory: Callable[[str], Path], oracle_of: Callable[[str], Oracle]
) -> None:
    engine = engine_under_test("llamacpp-lfm2", model_directory, oracle_of).open(256, 2, 16)
    sequence = engine.submit(request())
    engine.step()
    with pytest.raises(UnsupportedError, match="back is 1, must be 0: the llamacpp engine has no trim"):
        engine.fork(sequence, spec(), back=1)


def test_all_that_was_decoded_is_freed(windowed: LlamaModel) -> None:
    engine = LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=4, prefill_chunk=16))
    ledger = Ledger(engine)
    for i in range(6):
        sequence = ledger.submit(request(20, 20, seed=i))
        for _ in range(6):
            ledger.step()
        if ledger.accounts[sequence].decoding:
            ledger.fork(sequence, spec(), back=i % 3)
    assert engine.occupied > 0
    ledger.run()
    assert engine.occupied == 0


def test_numbers_that_overflow_end_their_sequence_with_an_error(tmp_path: Path) -> None:
    model = LlamaModel(save_gguf(tmp_path / "model.gguf", "gemma3", output=3e38), LoadSettings(repack=False))
    engine = LlamaEngine(model, LlamaConfig(cells=256, max_batch=2))
    sequence = engine.submit(request())
    assert engine.step()[-1] == Finished(
        sequence=sequence, reason=FinishReason.ERROR, error="the model's numbers overflowed"
    )
    assert engine.occupied == 0


def test_a_failed_decode_leaves_an_empty_engine_that_can_go_on(
    windowed: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=2, prefill_chunk=16))
    expected = decode(LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=2, prefill_chunk=16)), request())
    engine.submit(request(30, 8))
    engine.step()
    works, codes = windowed.library.llama_decode, [-3]
    with monkeypatch.context() as patched:
        patched.setattr(windowed.library, "llama_decode", lambda *call: codes.pop() if codes else works(*call))
        with pytest.raises(DecodeError, match=r"could not decode 14 rows \(code -3\)"):
            engine.step()
    assert (engine.load().running, engine.occupied) == (0, 0)
    assert decode(engine, request()) == expected


def test_decodes_that_go_on_failing_are_told_as_a_broken_engine(
    windowed: LlamaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=2, prefill_chunk=16))
    engine.submit(request(30, 8))
    monkeypatch.setattr(windowed.library, "llama_decode", lambda *_: -3)
    with pytest.raises(EngineBrokenError, match=r"16 rows \(code -3\).*; and it cannot start over: .* 1 rows"):
        engine.step()


# --- which engine a model gets


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_gguf(tmp_path / "model.gguf", "gemma3")


def test_auto_takes_llama_cpp_for_a_gguf_file_and_for_a_directory_of_one(file: Path) -> None:
    assert chosen(file) == chosen(file.parent) == "llamacpp"


@pytest.mark.slow
def test_an_opened_file_tells_what_decodes_it(file: Path) -> None:
    opened = open_engine(file, AutoOptions(cells=512, max_batch=2))
    assert (opened.kind, opened.vocabulary, opened.engine.max_tokens) == ("llamacpp", 128, 512)
    assert opened.arithmetic == "the type of the weights, f16 cache"
    assert opened.runner.startswith("llama.cpp ")
    assert opened.engine.capabilities.probe_rows is not None
    assert len(decode(opened.engine, request())[0]) == 8


def test_a_directory_of_safetensors_is_not_for_llama_cpp(tmp_path: Path) -> None:
    directory = save_model(tmp_path, "llama")
    with pytest.raises(UnsupportedModelError, match="the llamacpp engine decodes GGUF files, and this is none"):
        open_engine(directory, engine_options("llamacpp", {}))


def test_pauses_are_refused_before_anything_of_a_file_is_loaded_where_auto_keeps_none(file: Path) -> None:
    check_gguf(file, AutoOptions())
    with pytest.raises(UnsupportedError, match=r"the llamacpp engine has no pauses \(its option `paused` is 0\)"):
        check_gguf(file, AutoOptions(), pauses=True)
    check_gguf(file, LlamaOptions(paused=8), pauses=True)


def test_an_option_that_llama_cpp_lacks_is_refused_where_auto_has_chosen_it(file: Path) -> None:
    from engine.registry import Runner

    with pytest.raises(UnsupportedError, match="runner is bare, but engine is llamacpp, which has none: auto has"):
        open_engine(file, AutoOptions(runner=Runner.BARE))


def test_it_pauses_only_where_places_are_kept_for_it(windowed: LlamaModel) -> None:
    engine = LlamaEngine(windowed, LlamaConfig(cells=256, max_batch=1, **EXACT))
    assert not engine.capabilities.pausing
    sequence = engine.submit(request(4, 8))
    engine.step()
    told = f"sequence {sequence} is to pause: the llamacpp engine has no pauses (its option `paused` is 0)"
    with pytest.raises(UnsupportedError, match=re.escape(told)):
        engine.pause(sequence)
    engine.resume(sequence)  # it is not paused
    with pytest.raises(ValueError, match="paused is -1, must be at least 0"):
        LlamaOptions(paused=-1)


def test_a_newcomer_waits_while_every_place_is_held_by_a_paused_sequence(windowed: LlamaModel) -> None:
    engine = LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=1, paused=1, **EXACT))
    ledger = Ledger(engine)
    held = []
    for seed in range(2):
        held.append(ledger.submit(request(4, 8, seed=seed)))
        while not ledger.accounts[held[-1]].decoding:
            ledger.step()
        ledger.pause(held[-1])
    third = ledger.submit(request(4, 8, seed=2))
    ledger.step()
    assert (engine.load().paused, engine.load().waiting) == (2, 1)
    ledger.resume(held[0])
    while not ledger.accounts[held[0]].over:
        ledger.step()
    ledger.step()
    assert ledger.accounts[third].started
    ledger.resume(held[1])
    ledger.run()
    assert engine.occupied == 0


def test_more_sequences_than_llama_cpp_tells_apart_are_refused_with_those_that_pause(windowed: LlamaModel) -> None:
    with pytest.raises(CapacityError, match="max_batch is 60, must be at most 45 with"):
        LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=60, paused=40))


@pytest.mark.parametrize(
    ("max_batch", "paused", "told"),
    [
        (32, 300, "paused is 300, must be at most 53 with llama.cpp and this model with max_batch at 32"),
        (90, 300, "max_batch is 90 and paused is 300, must be at most 85 together with llama.cpp and this model"),
    ],
)
def test_more_pauses_than_llama_cpp_can_hold_are_refused_with_a_limit_that_can_be_kept(
    windowed: LlamaModel, max_batch: int, paused: int, told: str
) -> None:
    with pytest.raises(CapacityError, match=told):
        LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=max_batch, paused=paused))


def test_a_model_with_a_window_shares_its_cache(windowed: LlamaModel) -> None:
    with pytest.raises(
        UnsupportedModelError, match="shared_cache is false, must be true: not every layer sees all tokens"
    ):
        LlamaEngine(windowed, LlamaConfig(cells=512, max_batch=1, shared=False))


def test_a_cache_of_its_own_bounds_each_sequence(model_directory: Callable[[str], Path]) -> None:
    engine = LlamaEngine(load_gguf("qwen3", model_directory), LlamaConfig(cells=1024, max_batch=2, shared=False))
    assert engine.max_tokens == 256
    with pytest.raises(CapacityError, match="must be at most 256"):
        engine.submit(request(240, 40))
    decode(engine, request(200, 40, seed=1), request(200, 40, seed=2))
    assert engine.occupied == 0


@pytest.mark.parametrize("cells", [None, 1_500])
def test_shares_of_the_cache_take_all_that_llama_cpp_allocates(cells: int | None, tmp_path: Path) -> None:
    file = save_gguf(tmp_path / "model.gguf", "gemma3")
    options = fitted(file, LlamaOptions(cells=cells, max_batch=2, paused=1, shared_cache=False))
    config = LlamaConfig(cells=options.cells_taken, max_batch=2, paused=1, shared=False)
    context = LlamaContext(LlamaModel(file), config, ids=6)
    assert context.cells == options.cells == 6 * (512 if cells is None else 256)


@pytest.mark.parametrize("back", [0, 2])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
def test_a_probe_tells_every_row_that_is_computed_for_it(
    shared: bool, back: int, model_directory: Callable[[str], Path]
) -> None:
    engine = LlamaEngine(load_gguf("qwen3", model_directory), LlamaConfig(cells=512, max_batch=1, shared=shared))
    ledger, computed = Ledger(engine), counting(engine)
    sequence = ledger.submit(request(20, 60))
    for _ in range(6):
        ledger.step()
    before = computed()
    ledger.fork(sequence, spec(), back=back)
    steps, answer = 0, None
    while answer is None:
        steps += 1
        ledger.step()
        answer = next((each.answer for each in ledger.asked.values()), None)
    assert computed() - before == steps + answer.rows  # a row of the sequence in each step
    assert answer.repeated == (not shared and not back)
