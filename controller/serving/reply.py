"""One request's reply as text: takes tokens, emits reasoning and answer in pieces fit for streaming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.serving.choices.scores import ScoredText, TokenScore
from models.formats.matching import TextFilter, Unshown, overlap
from models.tokenizer import Streamed


class Channel(StrEnum):
    """Which part of the reply a piece of text belongs to."""

    REASONING = "reasoning"
    CONTENT = "content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of the reply's text."""

    channel: Channel
    text: str
    scores: tuple[TokenScore, ...] = ()  # of the tokens that begin in it, where they are asked for and known
    choice: int = 0  # the reply's place among those to one request


class Reply:
    """Splits a stream of tokens at the closing marker and decodes it.

    White space around the thought and before the answer belongs to the markers and is dropped. A reply that goes on
    with a text of the prompt is said from its first character on. The answer ends before the first occurrence of a stop
    string; text that may be the beginning of a stop string is held back until this is decided. Recited tokens are not
    the model's own, so no stop string counts in them: it would end the answer before it begins. A thought in the open
    is content from its first character on.
    """

    def __init__(
        self,
        *,
        emit: Callable[[Delta], None],
        decoder: Callable[[], Streamed],
        thinking: bool,
        going_on: Streamed | None = None,
        stop: tuple[str, ...],
        unshown: Unshown | None = None,
        choice: int = 0,
        scored: bool = False,
    ) -> None:
        """`thinking`: the reply begins with a thought that is no content. `unshown` None: all text is shown.

        `going_on`: decodes what goes on with a text of the prompt; None: the reply begins a text.
        `choice`: the reply's place among those to one request. `scored`: pieces of text come with their tokens' scores.
        """
        self._emit = emit
        self._choice = choice
        self._scored = ScoredText() if scored else None
        self._shown = 0  # characters of the channel that have been released or dropped
        self._decoder = decoder
        self._stream = decoder() if going_on is None else going_on
        self._stop = stop
        self._held = ""  # decoded, not yet emitted
        self.channel = Channel.REASONING if thinking else Channel.CONTENT
        # the answer has a visible character, or goes on with a text: then it may end
        self.answered = going_on is not None and not thinking
        self.stopped_by: str | None = None  # the stop string that has ended the answer; None: none has
        self._begun = going_on is not None  # the channel has a visible character, or goes on with a text
        self._unshown = unshown
        self._filter = self._make_filter()

    def turn_to(self, emit: Callable[[Delta], None]) -> None:
        """Has what is said from now on go to `emit`."""
        self._emit = emit

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self.stopped_by is not None

    def close_thought(self, head: str = "", tail: str = "", *, own: bool = True) -> None:
        """Ends the thought at the closing marker: the tokens that follow are the answer.

        `head`: text of the thought before the marker, in a token of the marker's; `tail`: text of the answer after it.
        `own`: the model has written the marker.
        """
        self._take(head)
        if self._filter is not None:
            self._show(self._filter.rest())
        self._held = ""  # of a thought only white space is held back now
        self._stream = self._decoder()
        self.channel, self._begun = Channel.CONTENT, False
        self._shown = 0
        self._scored = None if self._scored is None else ScoredText()
        self._filter = self._make_filter()
        stop, self._stop = self._stop, (self._stop if own else ())
        self._take(tail)
        self._stop = stop

    def recite(self, *tokens: int, scores: Sequence[TokenScore | None] = ()) -> None:
        """Adds the thinking format's own tokens before an answer; stop strings do not count in them."""
        stop, self._stop = self._stop, ()
        self.push(*tokens, scores=scores)
        self._stop = stop

    def push(self, *tokens: int, scores: Sequence[TokenScore | None] = ()) -> None:
        """Adds tokens of the reply (no markers, no end-of-sequence tokens). `scores`: one for each token, or none."""
        if self.stopped:
            return
        if self._scored is None or not scores:
            self._take("".join(map(self._stream.push, tokens)))
            return
        for token, score in zip(tokens, scores, strict=True):
            self._scored.token(score)
            self._take(self._stream.push(token))

    def _take(self, text: str) -> None:
        self._show(text if self._filter is None else self._filter.push(text))

    def _show(self, text: str) -> None:
        """Adds text that the reader may see."""
        if not text or self.stopped:
            return
        self._held += text
        if self._scored is not None:
            self._scored.text(len(text))
        if not self._begun:
            visible = self._held.lstrip()
            if not visible:
                return
            self._shown = len(self._held) - len(visible)
            self._held, self._begun = visible, True
            if self._scored is not None:
                self._scored.skip(self._shown)
        if self.channel is Channel.REASONING:
            self._release(len(self._held.rstrip()))
            return
        self.answered = True
        # the stop string that is complete first counts, wherever tokens end; of two complete at once, the longer one
        found = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            end, start = min(found)
            self.stopped_by, self._held = self._held[start:end], self._held[:start]
            self.finish()
        else:
            self._release(len(self._held) - overlap(self._held, self._stop))

    def finish(self) -> None:
        """Ends the reply and releases the text held back; an incomplete character becomes U+FFFD.

        So even an answer that was cut before its first visible character is not empty.
        """
        if self._filter is not None and not self.stopped:
            self._show(self._filter.rest())
        if self.channel is Channel.CONTENT:
            rest = "" if self.stopped else self._stream.rest()
            if rest and self._scored is not None:
                self._scored.text(len(rest))
            self._held += rest
            self._release(len(self._held))

    def _make_filter(self) -> TextFilter | None:
        if self._unshown is None:
            return None
        if self.channel is Channel.CONTENT:
            return TextFilter(self._unshown.answer, () if self._begun else self._unshown.head)
        return TextFilter(self._unshown.thought) if self._unshown.thought else None

    def _release(self, length: int) -> None:
        if length:
            text, self._held = self._held[:length], self._held[length:]
            self._shown += length
            scores = () if self._scored is None else self._scored.shown(self._shown)
            self._emit(Delta(channel=self.channel, text=text, scores=scores, choice=self._choice))
