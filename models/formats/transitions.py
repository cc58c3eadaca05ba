"""Transition points: the places of a thought where it may be closed early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property


class TransitionPoints:
    """Finds transition points in the tokens of a thought."""

    def __init__(
        self,
        *,
        paragraphs: bool,
        words: Sequence[str],
        texts: Sequence[str],
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        """`paragraphs` and `words`: see `models.thinking.TransitionFormat`. `texts`: of each token, by id."""
        self._paragraphs = paragraphs
        self._texts = texts
        spellings = (space + word for word in words for space in ("", " "))
        cues = [tuple(encode(spelling)) for spelling in spellings]
        self._words = {ids[-1]: [other for other in cues if other[-1] == ids[-1]] for ids in cues}
        self.lookback = 1 + max(map(len, cues)) if cues else 0  # the largest result of `last`

    @cached_property
    def _paragraph_ends(self) -> frozenset[int]:
        return frozenset(i for i, text in enumerate(self._texts) if "\n\n" in text)

    def last(self, thought: Sequence[int]) -> int | None:
        """The number of tokens from a transition point to the end of `thought`; None: its last token reveals no point.

        A paragraph end is known at once (0). A cue word is known only with the token after it, because `Wait` may
        continue as `Waiting`; the point lies before the word.
        """
        if not thought:
            return None
        if self._paragraphs and self._ends_paragraph(thought):
            return 0
        if len(thought) < 2 or self._goes_on(thought[-1]):
            return None
        for ids in self._words.get(thought[-2], ()):
            start = len(thought) - 1 - len(ids)
            if start < 0 or tuple(thought[start:-1]) != ids:
                continue
            inside_a_word = (
                start > 0 and self._text(ids[0])[:1].isalnum() and self._text(thought[start - 1])[-1:].isalnum()
            )
            if not inside_a_word:
                return len(ids) + 1
        return None

    def _ends_paragraph(self, thought: Sequence[int]) -> bool:
        if thought[-1] in self._paragraph_ends:
            return True  # the blank line lies within one token, else over two
        return len(thought) > 1 and self._text(thought[-1]).startswith("\n") and self._text(thought[-2]).endswith("\n")

    def _goes_on(self, token: int) -> bool:
        first = self._text(token)[:1]
        return first.isalnum() or first in ("'", "’", "_")

    def _text(self, token: int) -> str:
        return self._texts[token] if token < len(self._texts) else ""  # a model's last logits may have no token
