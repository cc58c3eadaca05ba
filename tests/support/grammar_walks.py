"""Answers under a grammar as a model writes them that draws any token that may come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.grammar.compiling import CompiledGrammar
from models.tokenizer import Decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One answer."""

    text: str
    tokens: int
    whole: bool  # the answer may end there


def walk(grammar: CompiledGrammar, tokenizer: Decoder, room: int, rng: np.random.Generator) -> Walk:
    """Draws tokens that the grammar allows until the answer ends or has `room` tokens; often characters."""
    match, tokens = grammar.begin(room), list[int]()
    while len(tokens) < room and not match.complete:
        allowed = np.array(grammar.vocabulary.tokens_of(match.mask()))
        assert allowed.size, f"nothing may follow {tokenizer.decode(tokens)!r}"
        token = int(allowed[int(allowed.size * rng.random() ** rng.integers(1, 4))])
        match.accept(token)
        if token in grammar.vocabulary.ends:
            break
        tokens.append(token)
    return Walk(text=tokenizer.decode(tokens), tokens=len(tokens), whole=match.whole)
