"""Thoughts on engines whose rows are dear, or which fork at the newest token only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.policy import FixedPolicy, Limits
from controller.serving.request import ExitReason
from engine.base import Capabilities, ProbeId, ProbeSpec, SequenceId, UnsupportedError
from engine.gguf.convert import StoredType, convert
from engine.llamacpp.config import LlamaConfig
from engine.llamacpp.engine import LlamaEngine
from engine.llamacpp.model import LlamaModel
from engine.torch.engine import TorchEngine
from engine.torch.load import load_model
from engine.wrapper import EngineWrapper
from models.tokenizer import ChatTokenizer
from tests.support.engines import needs_llama
from tests.support.row_counts import counting
from tests.support.serving_bench import ANSWER, ENDLESS, SURE, Bench
from tests.support.tiny_models import Oracle

Chain = Callable[..., Bench]

NEVER = FixedPolicy(Limits(threshold=1.01, budget=180))


class Limited(EngineWrapper):
    """The torch engine, with fewer capabilities."""

    def __init__(self, directory: Path, **capabilities: Any) -> None:
        super().__init__(TorchEngine(load_model(directory)))
        self._capabilities = replace(self.engine.capabilities, **capabilities)

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def fork(self, sequence: SequenceId, spec: ProbeSpec, *, back: int = 0) -> ProbeId:
        if back:
            self.capabilities.need("trim", f"back is {back}, must be 0")
        return self.engine.fork(sequence, spec, back=back)


def limited(chain: Chain, script: Any, policy: FixedPolicy, *, every_probe: bool = False, **capabilities: Any) -> Bench:
    directory = chain(script).directory
    return chain(script, policy=policy, every_probe=every_probe, engine=Limited(directory, **capabilities))


@pytest.mark.parametrize("allowed", [0.1, 0.3, 0.6])
def test_probes_cost_no_more_rows_than_the_engine_allows_for_each_token(chain: Chain, allowed: float) -> None:
    bench = limited(chain, ENDLESS, NEVER, probe_rows=allowed)
    thought = bench.ask(max_tokens=200).outcome.thought
    free = chain(ENDLESS, policy=NEVER).ask(max_tokens=200).outcome.thought
    assert 0 < thought.probes < free.probes
    assert thought.probe_rows <= allowed * thought.tokens
    assert thought.probe_rows + 2 * thought.probe_rows / thought.probes > 0.8 * allowed * thought.tokens  # nearly all


def test_what_is_measured_is_asked_everywhere_at_any_price(chain: Chain) -> None:
    measured = limited(chain, ENDLESS, NEVER, every_probe=True, probe_rows=0.01).ask(max_tokens=200).outcome.thought
    free = chain(ENDLESS, policy=NEVER).ask(max_tokens=200).outcome.thought
    assert measured.probes == free.probes > 2


def test_what_is_asked_at_fixed_distances_is_asked_at_any_price(chain: Chain) -> None:
    every = FixedPolicy(Limits(threshold=1.01, budget=40, every=8))
    asked = [
        bench.ask().outcome.thought.probes
        for bench in (chain(ENDLESS, policy=every), limited(chain, ENDLESS, every, probe_rows=0.01))
    ]
    assert asked[0] == asked[1] > 2


def test_without_trims_a_cue_word_stays_in_the_thought_and_is_probed_behind(chain: Chain) -> None:
    script = {"\n": "a", "a": " Wait", " Wait": ",", ",": "c", "c": "a", **ANSWER}
    bench = limited(chain, script, SURE, trim=False)
    heard = bench.ask()
    assert heard.outcome.thought.exit_reason is ExitReason.CONFIDENCE
    assert heard.reasoning.startswith("a Wait")
    bench.engine.ledger.verify(Oracle(bench.directory))


def test_without_trims_a_policy_that_decodes_the_newest_token_again_is_refused_by_name(chain: Chain) -> None:
    with pytest.raises(UnsupportedError, match=r"the signal margin decodes the newest token again: .* has no trim"):
        limited(chain, ENDLESS, FixedPolicy(Limits(margin=1.0)), trim=False)


def test_what_an_adopted_probe_repeats_is_a_row_of_the_probe(
    random_model: Path, tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    needs_llama()
    file = tmp_path / "model.gguf"
    for _ in convert(random_model, file, StoredType.F16, tokenizer=False):
        pass
    more, told = [], []
    for shared in (True, False):
        engine = LlamaEngine(LlamaModel(file), LlamaConfig(cells=1024, max_batch=1, shared=shared))
        computed = counting(engine)
        policy = FixedPolicy(Limits(threshold=1e-6, every=5))
        outcome = Bench(random_model, tokenizer, policy=policy, engine=engine).ask().outcome
        assert outcome.thought.exit_reason == ExitReason.CONFIDENCE
        more.append(computed() - outcome.rows)
        told.append(outcome.thought.probe_rows)
    assert more[0] == more[1]
    assert told[1] == told[0] + 1
