"""A serving loop on a parrot, which says a text spelled by any tokens."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from controller.policy import FixedPolicy, Limits
from models.thinking import ThinkingFormat
from models.tokenizer import ChatTokenizer
from tests.support.parrot_engine import ParrotEngine, ParrotOptions
from tests.support.serving_bench import Bench


def spelled(tokenizer: ChatTokenizer, *pieces: str) -> tuple[int, ...]:
    """The tokens of a text that is cut into these pieces before it is encoded."""
    return tuple(token for piece in pieces for token in tokenizer.encode(piece))


def parrot(
    tokenizer: ChatTokenizer, said: tuple[int, ...], form: ThinkingFormat, limits: Limits | None = None
) -> Bench:
    script = (*said, min(tokenizer.eos_ids))
    engine = ParrotEngine(script, len(tokenizer.texts), ParrotOptions(cells=4096))
    return Bench(Path(), tokenizer, form=form, policy=FixedPolicy(limits or Limits()), engine=engine)


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Any pieces of a text."""
    places = sorted(draw(st.sets(st.integers(1, len(text) - 1), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
