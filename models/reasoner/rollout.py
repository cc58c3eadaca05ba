"""Batched decoding for training and its checks: left-padded prompts, one growing cache, greedy or sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.reasoner.network import Cache, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The tokens that the network wrote after a prompt, stop token included, and each token's probability at T = 1."""

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]


@torch.no_grad()
def decode(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    limit: int,
    stop: int,
    temperatures: Sequence[float] | None = None,
    generator: torch.Generator | None = None,
) -> list[Rollout]:
    """Continue every prompt up to `stop` or `limit` tokens; temperature 0 is greedy, `temperatures` None: all 0."""
    count, longest = len(prompts), max(map(len, prompts))
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    tokens = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    heat = torch.zeros(count) if temperatures is None else torch.tensor(temperatures, dtype=torch.float32)
    cache = Cache(network.shape, batch=count, capacity=longest + limit)
    written: list[list[int]] = [[] for _ in prompts]
    chances: list[list[float]] = [[] for _ in prompts]

    rows = torch.arange(count)
    places = torch.arange(longest)
    real = places[None, :] >= padding[:, None]
    allowed = (places[None, :] <= places[:, None]) & real[:, None, :]
    positions = (places[None, :] - padding[:, None]).clamp(min=0)
    for _ in range(limit):
        logits = network(tokens, positions, allowed, cache)[:, -1]
        chosen, chance = _choose(logits, heat[rows], generator)
        for row, token, probability in zip(rows.tolist(), chosen.tolist(), chance.tolist(), strict=True):
            written[row].append(token)
            chances[row].append(probability)
        going = torch.nonzero(chosen != stop)[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(rows):
            rows, chosen = rows[going], chosen[going]
            cache.keep(going)
        tokens = chosen[:, None]
        positions = (cache.length - padding[rows])[:, None]
        allowed = (torch.arange(cache.length + 1)[None, :] >= padding[rows][:, None])[:, None, :]
    return [Rollout(tokens=tuple(t), probabilities=tuple(p)) for t, p in zip(written, chances, strict=True)]


def _choose(logits: Tensor, heat: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """One token per row, and its probability under the untempered distribution."""
    probabilities = logits.softmax(-1)
    chosen = probabilities.argmax(-1)
    if bool((heat > 0).any()):
        tempered = (logits / heat.clamp(min=1e-3)[:, None]).softmax(-1)
        drawn = torch.multinomial(tempered, 1, generator=generator)[:, 0]
        chosen = torch.where(heat > 0, drawn, chosen)
    return chosen, probabilities.gather(1, chosen[:, None])[:, 0]
