"""A model that is sure of everything at once: whatever is tried, is adopted. So every probe of a thought shows."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.base import ProbeSpec
from engine.simulated.model import Course, CourseRules, TrialAnswer
from models.chat_model import ChatModel
from models.tokenizer import TokenizerError

PARAGRAPHS = 4
WORDS = 24  # tokens of a paragraph; a format asks for some between two probes
REPLY = 6  # tokens


class EagerModel:
    """An `engine.simulated.model.SimulatedModel` whose thoughts are paragraphs of one word."""

    def __init__(self, chat: ChatModel) -> None:
        """Raises TokenizerError if no token of the vocabulary ends a paragraph."""
        texts, self._close = chat.tokenizer.texts, chat.thinking.close
        self.vocabulary = len(texts)
        self.max_tokens = sys.maxsize
        self._stop = min(chat.stop_tokens)
        self._word = chat.tokenizer.encode("so")[0]
        self._brace = min(chat.thinking.probe_stops)
        end = next((number for number, text in enumerate(texts) if text.endswith("\n\n")), None)
        if end is None:
            raise TokenizerError("no token ends a paragraph")
        self._thought = (*(self._word,) * WORDS, end) * PARAGRAPHS
        self._looks = tuple(range(WORDS + 1, len(self._thought) + 1, WORDS + 1))

    def follow(self, prompt: tuple[int, ...], said: Sequence[int], rules: CourseRules) -> Course:
        """Whatever was said: a thought where one is open, else words and the end."""
        size = len(self._close)
        text = (*prompt[-size - 64 :], *said)  # a landing may have closed the thought in the prompt
        over = any(text[at : at + size] == self._close for at in range(len(text)))
        answer = (*(self._word,) * REPLY, self._stop)
        if over:
            return Course(tokens=answer)
        rest = self._thought[len(said) :]
        looks = tuple(look - len(said) for look in self._looks if look > len(said))
        end = len(rest) + size
        return Course(tokens=(*rest, *self._close, *answer), looks=(*looks, end, end + 1))

    def answer(self, prompt: tuple[int, ...], said: Sequence[int], spec: ProbeSpec) -> TrialAnswer:
        """A sure answer of one token."""
        stop = self._brace if self._brace in spec.answer_stops else min(spec.answer_stops)
        return TrialAnswer(answer=(self._word,), log_probs=(0.0,), terminator=stop)
