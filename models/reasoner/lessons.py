"""The training data: blocks of packed rows of fresh traces, and of the network's own traces with the true answer."""

from collections.abc import Sequence

import numpy as np
import torch

from models.reasoner.network import Network
from models.reasoner.packing import Example, Rows, cuts, example, exit_fork, pack
from models.reasoner.rollout import decode
from models.reasoner.slips import invented
from models.reasoner.slips import made as made_slips
from models.reasoner.steps import OutOfRange
from models.reasoner.tasks import FAMILIES, SPLITS, Problem, generate
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import write

TEMPERATURES = (0.0, 0.6, 0.8)
LIMIT = 640  # most tokens of a trace that the network writes itself
SLIP_SHARES = (0.2, 0.5)  # share of traces with a slip drawn: at first, and once the steps are learnt
VERDICT_WEIGHTS = (1.0, 10.0)  # of a check's verdict, relative to other tokens: at first, and in the end
DIRECT_SHARE = 0.04  # share of traces with an empty thought
FILL = 0.95  # target for the share of slots that are filled


def split_weights(progress: float) -> list[float]:
    """The curriculum: shares of easy, medium and hard problems, from mostly easy to mostly hard."""
    first, last = (0.6, 0.3, 0.1), (0.2, 0.35, 0.45)
    return [a + (b - a) * progress for a, b in zip(first, last, strict=True)]


def fresh_problem(rng: np.random.Generator, progress: float) -> Problem:
    """A training problem of a random family, its split drawn from the curriculum's mix."""
    family = FAMILIES[int(rng.integers(len(FAMILIES)))]
    return generate(family, rng, split=SPLITS[int(rng.choice(len(SPLITS), p=split_weights(progress)))])


def fresh_examples(
    encoder: Encoder,
    rng: np.random.Generator,
    *,
    slots: int,
    length: int,
    progress: float,
    slip_share: float,
    verdict_weight: float,
) -> list[Example]:
    """Written traces with forks, some with a slip and its correction, until they fill `slots` slots.

    A trace longer than a row is replaced by a new one.
    """
    examples: list[Example] = []
    taken = 0
    while taken < slots:
        problem = fresh_problem(rng, progress)
        slips = invented(problem, rng) if rng.random() < slip_share else {}
        direct = not slips and rng.random() < DIRECT_SHARE
        made = _written(encoder, problem, rng, slips, direct=direct, verdict_weight=verdict_weight)
        if made is not None and made.slots <= length:
            examples.append(made)
            taken += made.slots
    return examples


def own_examples(
    network: Network, encoder: Encoder, rng: np.random.Generator, *, count: int, length: int, seed: int
) -> list[Example]:
    """The network's own traces, which teach the true answer at their exits.

    A trace with a slip adds a written trace in which the same slip is made and corrected.
    """
    problems = [fresh_problem(rng, 1.0) for _ in range(count)]
    problems.sort(key=lambda problem: len(problem.question))
    prompts = [encoder.prompt(problem.question) for problem in problems]
    temperatures = [TEMPERATURES[int(rng.integers(len(TEMPERATURES)))] for _ in problems]
    generator = torch.Generator().manual_seed(seed)
    rollouts = decode(network, prompts, limit=LIMIT, stop=encoder.end, temperatures=temperatures, generator=generator)
    examples = []
    for problem, prompt, rollout in zip(problems, prompts, rollouts, strict=True):
        tokens = [*prompt, *rollout.tokens]
        places = cuts(tokens, len(prompt), encoder, rng, 6)
        own = Example(
            tokens=tuple(tokens),
            weights=(0.0,) * len(tokens),
            forks=tuple(exit_fork(encoder, place, problem.answer) for place in places),
        )
        slips = made_slips(problem, encoder.text(list(rollout.tokens)))
        mended = _written(encoder, problem, rng, slips, verdict_weight=VERDICT_WEIGHTS[-1]) if slips else None
        examples += [made for made in (own, mended) if made is not None and made.slots <= length]
    return examples


def _written(
    encoder: Encoder,
    problem: Problem,
    rng: np.random.Generator,
    slips: dict[int, int],
    *,
    verdict_weight: float,
    direct: bool = False,
) -> Example | None:
    """A written trace with forks; None: its slips lead to numbers out of range."""
    try:
        trace = write(problem, rng, slips)
    except OutOfRange:
        return None
    forks = int(rng.integers(3, 6))
    return example(encoder, problem, trace, rng, forks=forks, direct=direct, verdict_weight=verdict_weight)


def block(
    examples: Sequence[Example], rng: np.random.Generator, *, steps: int, rows: int, length: int, pad: int
) -> list[Rows]:
    """Pack examples into the rows of `steps` training steps, in random order."""
    packed = pack(examples, rows=steps * rows, length=length, pad=pad)
    order = rng.permutation(len(packed))
    return [packed.take(order[step * rows : (step + 1) * rows]) for step in range(steps)]
