"""The training data: blocks of packed rows of fresh traces, and of the network's own traces with the true answer."""

from collections.abc import Sequence

import numpy as np
import torch

from models.reasoner.forms import asked
from models.reasoner.lookups import looked_up
from models.reasoner.network import Network
from models.reasoner.packing import Example, Rows, cuts, example, exit_fork, pack
from models.reasoner.rollout import decode
from models.reasoner.tasks import FAMILIES, SPLITS, Problem, generate
from models.reasoner.tokenizer import Encoder
from models.reasoner.traces import CAP, EXIT, closing

TEMPERATURES = (0.0, 0.6, 0.8)
SHARES = {"recall": 0.2, "words": 0.2, "tally": 0.17, "highest": 0.17, "countdown": 0.26}
LOOKUPS = (0.3, 0.04)  # share of examples that only look up: at first, and in the end
FILL = 0.95  # target for the share of slots that are filled


def split_weights(progress: float) -> list[float]:
    """The curriculum: shares of easy, medium and hard problems, from mostly easy to equal."""
    first, last = (0.6, 0.3, 0.1), (0.3, 0.33, 0.37)
    return [a + (b - a) * progress for a, b in zip(first, last, strict=True)]


def fresh_problem(rng: np.random.Generator, progress: float) -> Problem:
    """A training problem of a random family, its split drawn from the curriculum's mix."""
    family = FAMILIES[int(rng.choice(len(FAMILIES), p=[SHARES[family] for family in FAMILIES]))]
    return generate(family, rng, split=SPLITS[int(rng.choice(len(SPLITS), p=split_weights(progress)))])


def fresh_examples(
    encoder: Encoder, rng: np.random.Generator, *, slots: int, length: int, progress: float
) -> list[Example]:
    """Written traces with forks, and lessons in looking up, until they fill `slots` slots.

    `progress` is 0 at the beginning of the curriculum and 1 from its end on. A trace longer than a row is replaced.
    """
    lookups = LOOKUPS[0] + (LOOKUPS[1] - LOOKUPS[0]) * progress
    examples: list[Example] = []
    taken = 0
    while taken < slots:
        if rng.random() < lookups:
            made = example(encoder, looked_up(encoder, rng), rng, forks=0)
        else:
            question = asked(encoder, fresh_problem(rng, progress), rng)
            made = example(encoder, question, rng, forks=int(rng.integers(3, 6)))
        if made.slots <= length:
            examples.append(made)
            taken += made.slots
    return examples


def own_examples(
    network: Network, encoder: Encoder, rng: np.random.Generator, *, count: int, length: int, seed: int
) -> list[Example]:
    """The network's own traces, of which only the exits are learnt, with the true answer."""
    problems = [fresh_problem(rng, 1.0) for _ in range(count)]
    problems.sort(key=lambda problem: len(problem.question))
    prompts = [encoder.prompt(problem.question) for problem in problems]
    temperatures = [TEMPERATURES[int(rng.integers(len(TEMPERATURES)))] for _ in problems]
    generator = torch.Generator().manual_seed(seed)
    rollouts = decode(network, prompts, limit=CAP, stop=encoder.end, temperatures=temperatures, generator=generator)
    examples = []
    for problem, prompt, rollout in zip(problems, prompts, rollouts, strict=True):
        tokens = [*prompt, *rollout.tokens]
        reply = closing(problem.answer)
        own = Example(
            tokens=tuple(tokens),
            weights=(0.0,) * len(tokens),
            forks=tuple(
                exit_fork(encoder, place, reply, given=EXIT) for place in cuts(tokens, len(prompt), encoder, rng, 6)
            ),
        )
        if own.slots <= length:
            examples.append(own)
    return examples


def block(
    examples: Sequence[Example], rng: np.random.Generator, *, steps: int, rows: int, length: int, pad: int
) -> list[Rows]:
    """Pack examples into the rows of `steps` training steps, in random order."""
    packed = pack(examples, rows=steps * rows, length=length, pad=pad)
    order = rng.permutation(len(packed))
    return [packed.take(order[step * rows : (step + 1) * rows]) for step in range(steps)]
