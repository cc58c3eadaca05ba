"""A synthetic reasoner: drawn thoughts, the profile that calibration makes of them, and the machine that serves them.

The machine is an RTX 4090 with Llama-3.1-8B in bf16, fitted to 300 requests timed on vLLM 0.19.0 (LLMServingSim's
traces, MIT) by `python -m benchmarks.vllm requests.jsonl --least-ms 15.9 --least-ns 130`: a step reads all weights,
16.06 GB at 1008 GB/s, and 131,072 bytes for each cached token. Without these floors the fit is no better, and small
batches would decode faster than the card can read the weights: the requests ran at nearly constant memory, so the fit
cannot separate the step's constant part from its part per cached token.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

from controller.serving.trials import probe_spec
from engine.simulated.machine import Machine, profiled_machine
from experiments.calibration import profile as profiling
from experiments.calibration.traces import ClosedReply, ThoughtTrace
from experiments.provenance import Provenance
from experiments.simulation.recording import Recording, assembled
from experiments.synthetic.curves import LONGEST, Synthetic
from experiments.synthetic.thoughts import BUDGETS, TRIAL, Thoughts, draw
from experiments.synthetic.vocabulary import FORMAT, SyntheticVocabulary
from laser.version import VERSION
from models.profile.identity import ModelIdentity, thinking_sha256
from models.profile.plant import StepTime, mean_context
from models.profile.profile import MeasuredPlant, ProbeCost, Profile

STEP_TIME = StepTime(a=15.9e-3, c=198e-6, g=130e-9)
STEP_ERROR = 0.12  # root mean square of relative errors on 150 requests held out from the fit
ROW_S = 93e-6  # s that a prompt token adds; used for a probe's row too, whose cost is unpublished
CELLS = 41_408  # tokens of KV cache that vLLM had beside these weights on 24 GB
MAX_BATCH = 14  # sequences whose growing KV caches, 2,840 tokens on average over full thoughts, fit in CELLS
MAX_TOKENS = LONGEST + 1024  # of a reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoner:
    """A synthetic reasoner with its profile."""

    thoughts: Thoughts
    vocabulary: SyntheticVocabulary
    profile: Profile

    @property
    def machine(self) -> Machine:
        """The machine, with unlimited cells: vLLM allocates cells as tokens come, so only `max_batch` limits."""
        return profiled_machine(self.profile, cells=sys.maxsize)

    def recording(self, traces: Mapping[int, ThoughtTrace]) -> Recording:
        """Returns a recording of these traces: the reasoner's own, or others for the same questions."""
        return assembled(
            self.vocabulary,
            self.vocabulary.thinking,
            self.vocabulary.stop_tokens,
            self.profile,
            traces,
            self.thoughts.closings,
            [(benchmark, None) for benchmark in self.thoughts.benchmarks],
        )


@cache
def reasoner(which: Synthetic) -> Reasoner:
    """Draws the reasoner's thoughts, and makes its profile with calibration's own code."""
    vocabulary = SyntheticVocabulary()
    thinking = vocabulary.thinking
    thoughts = draw(which.curve, count=which.questions, seed=which.seed, vocabulary=vocabulary)
    spec = probe_spec(thinking, vocabulary.stop_tokens)
    traces = list(thoughts.traces.values())
    context = mean_context([len(one.prompt) for one in traces], [one.tokens for one in traces])
    rows = len(thinking.probe_suffix) + sum(TRIAL) / 2.0
    profile = profiling.profile(
        model=ModelIdentity(
            name=which.name, weights_sha256=_sha256(thoughts), thinking_sha256=thinking_sha256(FORMAT)
        ),  # without weights, a hash of the thoughts identifies the model
        traces=thoughts.traces,
        closings=thoughts.closings,
        budgets=BUDGETS,
        unseen=list(thoughts.traces),
        spec=spec,
        levels=profiling.Levels(),
        max_tokens=MAX_TOKENS,
        plant=MeasuredPlant(step_time=STEP_TIME, error=STEP_ERROR, max_batch=MAX_BATCH, context=context),
        probe=ProbeCost(rows=rows, seconds=rows * ROW_S),
        origin=_origin(which),
    )
    return Reasoner(thoughts=thoughts, vocabulary=vocabulary, profile=profile)


def _origin(which: Synthetic) -> Provenance:
    """Returns a provenance without dates or machine facts: the same seed gives the same profile."""
    return Provenance(
        model=which.name,
        weights_sha256={},
        laser=VERSION,
        torch="none",
        python=platform.python_version(),
        processor="synthetic: RTX 4090",
        threads=0,
        date="none",
        options={"synthetic": asdict(which)},
    )


def _sha256(thoughts: Thoughts) -> str:
    pieces: list[ThoughtTrace | ClosedReply] = [*thoughts.traces.values(), *thoughts.closings.values()]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(json.dumps(asdict(piece)).encode())
    return digest.hexdigest()
