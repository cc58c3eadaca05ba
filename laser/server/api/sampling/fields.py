"""Fields that say how tokens are drawn and where a reply may end: temperature, penalties, biases, stop tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from engine.base import Sampling
from engine.sampling.settings import MOST_BIAS, MOST_PENALTY
from laser.server.api.base import INTEGER, Fields, Switch, integer
from laser.server.api.errors import BadRequest, shown
from models.generation import GenerationDefaults

DRAWN = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
)  # fmt: skip
MAX_BIASES = 1024
MAX_STOP_IDS = 64

Penalty = Annotated[float, Field(ge=-MOST_PENALTY, le=MOST_PENALTY, strict=True)]
Bias = Annotated[float, Field(ge=-MOST_BIAS, le=MOST_BIAS, strict=True)]
StopIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_STOP_IDS)]
Biases = Annotated[dict[str, Bias], Field(max_length=MAX_BIASES)]


def _whole(given: object) -> int | None:
    """Returns a token id; None: `given` is none."""
    number = integer(given)
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 10:
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None


def _biases(given: object) -> object:
    """Returns the biases by token; None for none. Raises ValueError if `given` is no map of tokens to numbers."""
    if given is None or given == []:
        return None
    if not isinstance(given, dict):
        raise ValueError(f"is {shown(given)}, must be an object of biases by token id")
    if len(given) > MAX_BIASES:
        raise ValueError(f"has {len(given)} tokens, must have at most {MAX_BIASES}")
    biases: dict[int, float] = {}
    for name, bias in given.items():
        token = _whole(name)
        if token is None:
            raise ValueError(f"has the key {shown(name)}, must be a token id")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -MOST_BIAS <= bias <= MOST_BIAS:
            raise ValueError(f"of token {token} is {shown(bias)}, must lie in -{MOST_BIAS:g}…{MOST_BIAS:g}")
        if token in biases:
            raise ValueError(f"has token {token} twice, must have it once")
        biases[token] = float(bias)
    return biases or None


def _stop_ids(given: object) -> object:
    """Returns stop tokens as a set, empty for None. Raises ValueError if `given` is no list of token ids."""
    if given is None:
        return frozenset()
    if not isinstance(given, list):
        raise ValueError(f"is {shown(given)}, must be a list of at most {MAX_STOP_IDS} token ids")
    if len(given) > MAX_STOP_IDS:
        raise ValueError(f"has {len(given)} tokens, must have at most {MAX_STOP_IDS}")
    tokens = [(each, None if isinstance(each, str) else _whole(each)) for each in given]
    wrong = next((each for each, token in tokens if token is None), None)
    if wrong is not None or None in given:
        raise ValueError(f"has {shown(wrong)}, must be token ids")
    return frozenset(token for _, token in tokens)


class SamplingFields(Fields):
    """What requests may say of the drawing of tokens."""

    # of sampling; 0: greedy; null: the model's own
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    # share of the probability that sampling draws from; null: the model's own
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    # number of tokens that sampling draws from; 0 and −1: all; null: the model's own
    top_k: Annotated[int, Field(ge=-1, strict=True), INTEGER] | None = None
    seed: Annotated[int, Field(strict=True), INTEGER] | None = None  # of sampling; null: a random one
    # share of the likeliest token's probability that a token must have to be drawn; null: the model's own
    min_p: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    # taken from the logits of tokens that the reply has already; null: the model's own
    presence_penalty: Penalty | None = None
    # taken from a token's logit for each time that the reply has it already; null: the model's own
    frequency_penalty: Penalty | None = None
    # divides the logits of tokens that prompt or reply have already; 1: no penalty; null: the model's own
    repetition_penalty: Annotated[float, Field(gt=0, le=100, strict=True)] | None = None
    # added to the logits of tokens, by token id, thought and answer alike; −100 keeps a token out
    logit_bias: Annotated[dict[int, float] | None, BeforeValidator(_biases, json_schema_input_type=Biases | None)] = (
        None
    )
    # tokens that the reply has, thought and answer together, before the model or a stop may end it; null: 0
    min_tokens: Annotated[int, Field(ge=0, strict=True), INTEGER] | None = None
    ignore_eos: Switch | None = None  # true: the model does not end the reply; stops and the limit do
    # tokens that end the answer, by token id, at most 64; they are left out of it
    stop_token_ids: Annotated[frozenset[int], BeforeValidator(_stop_ids, json_schema_input_type=StopIds | None)] = (
        frozenset()
    )

    def check_tokens(self, vocabulary: int) -> None:
        """Raises BadRequest, which names the field, if the model has no row for a token of one."""
        for name in ("logit_bias", "stop_token_ids"):
            highest = max(getattr(self, name) or (0,))
            if highest >= vocabulary:
                raise BadRequest(f"{name} has token {highest}, must lie in 0…{vocabulary - 1}", param=name)

    def sampling(self, own: GenerationDefaults, vocabulary: int, seed: int) -> Sampling:
        """Returns how tokens are drawn; `own`: what the model's files say, which holds where the request is silent."""
        given = {name: getattr(self, name) for name in DRAWN if getattr(self, name) is not None}
        if "top_k" in given:
            given["top_k"] = min(max(0, given["top_k"]), vocabulary)
        biases = tuple(sorted((self.logit_bias or {}).items()))
        return Sampling(**{name: getattr(own, name) for name in DRAWN} | given, seed=seed, logit_bias=biases)
