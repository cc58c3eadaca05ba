"""What a request adds to the model's logits before a token is drawn: biases, and penalties for what was said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.sampling.settings import Sampling
from engine.sampling.weights import Floats


class _Counts:
    """How often each token has occurred: `ids` and `times`, of one length, grow as tokens are added."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._ids = np.zeros(64, np.int64)
        self._times = np.zeros(64, np.float32)

    def add(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            place = self._places.setdefault(token, len(self._places))
            if place == self._ids.size:
                self._ids = np.resize(self._ids, 2 * place)
                self._times = np.concatenate((self._times, np.zeros(place, np.float32)))
            self._ids[place] = token
            self._times[place] += 1.0

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        return self._ids[: len(self._places)]

    @property
    def times(self) -> Floats:
        return self._times[: len(self._places)]


class Adjustment:
    """Adjusts the logits of one sequence, whose tokens it counts as they come."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._prompt = prompt
        self._biased = np.array([token for token, _ in sampling.logit_bias], np.int64)
        self._biases = np.array([bias for _, bias in sampling.logit_bias], np.float32)
        self.start_over()

    def start_over(self) -> None:
        """Count anew, since tokens that were counted are no longer the sequence's."""
        self._seen, self._said = _Counts(), _Counts()
        self._counted = len(self._prompt)
        if self._sampling.repetition_penalty != 1.0:
            self._seen.add(self._prompt)

    def __call__(self, logits: Floats, tokens: Sequence[int]) -> Floats:
        """Returns the logits of the token after `tokens`, prompt and new ones, as the settings change them."""
        sampling, scores = self._sampling, logits.copy()
        if self._biased.size:
            scores[self._biased] += self._biases
        if not sampling.penalises:
            return scores
        new, self._counted = tokens[self._counted :], len(tokens)
        self._said.add(new)
        if sampling.repetition_penalty != 1.0:
            self._seen.add(new)
            repeated = scores[self._seen.ids]
            by = np.float32(sampling.repetition_penalty)
            scores[self._seen.ids] = np.where(repeated > 0.0, repeated / by, repeated * by)
        times = self._said.times
        scores[self._said.ids] -= np.float32(sampling.frequency_penalty) * times
        scores[self._said.ids] -= np.float32(sampling.presence_penalty)
        return scores
