"""What replies of both of Ollama's endpoints share: their times in ns, their lines of JSON, and how they end."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from controller.serving.reply import Channel, Delta
from controller.serving.request import Checkpoint, Outcome
from laser.server.api.errors import ApiError
from laser.server.api.ollama.errors import ollama_body
from laser.server.api.shape import NO_SCORES, LaserDetails, ReplyHeader, Scores, details, finish_word, on_one_line
from laser.server.api.streams.notices import ProbeNotice, ProgressNotice
from laser.server.api.tools.reply import CallDelta
from models.tools.offer import ToolCall

NS = 1e9


class OllamaReply(BaseModel):
    """What every reply says of itself. A stream's last line has all of it, the lines before no more than `done`."""

    model: str  # name of the served model
    created_at: str  # time of the request, RFC 3339
    done: bool = True  # whether the reply has ended
    # why the reply ended: at its own end or at the token limit; `load`: the request asked for nothing; null: it has not
    done_reason: Literal["stop", "length", "load"] | None = None
    total_duration: int | None = None  # ns from the request to the last token
    load_duration: int | None = None  # ns of loading the model, which is loaded already: 0
    prompt_eval_count: int | None = None  # tokens that the client sent, in the chat template
    prompt_eval_duration: int | None = None  # ns from the turn in the queue to the first token
    # tokens that the model decoded for the reply: thought, markers and answer, and the thoughts that have lost a race
    # for it
    eval_count: int | None = None
    eval_duration: int | None = None  # ns from the first token to the last
    laser: LaserDetails | None = None  # how the thought went; null: the reply has not ended


def ended(identity: ReplyHeader, outcome: Outcome) -> dict[str, Any]:
    """Returns what a reply that has ended says of itself. Raises ApiError if the request failed."""
    word = finish_word(outcome)
    first_s = outcome.total_s if outcome.ttft_s is None else outcome.ttft_s
    return {
        "done": True,
        "done_reason": "length" if word == "length" else "stop",
        "total_duration": int(outcome.total_s * NS),
        "load_duration": 0,
        "prompt_eval_count": outcome.sent_tokens,
        "prompt_eval_duration": int(max(0.0, first_s - outcome.queue_s) * NS),
        "eval_count": outcome.generated_tokens,
        "eval_duration": int(max(0.0, outcome.total_s - first_s) * NS),
        "laser": details(identity, outcome),
    }


def line(data: dict[str, Any]) -> bytes:
    """Encodes one line of a stream."""
    return f"{on_one_line(json.dumps(data, ensure_ascii=False, separators=(',', ':')))}\n".encode()


@dataclass(frozen=True, slots=True)
class OllamaLines(ABC):
    """See `laser.server.api.shape.ReplyShape`. A stream sends a line for each piece, and one that tells the times."""

    identity: ReplyHeader

    @abstractmethod
    def _reply(self, thought: str | None, content: str, calls: Sequence[ToolCall] = (), **more: Any) -> OllamaReply:
        """Returns a reply, or a line of one, that says `content` and `calls`; `thought` None: it shows no thought."""

    def whole(self, reasoning: str, content: str, outcome: Outcome, scores: Scores = NO_SCORES) -> OllamaReply:
        shown = self.identity.show_reasoning and outcome.thought.exit_reason is not None
        return self._reply(reasoning if shown else None, content, outcome.calls, **ended(self.identity, outcome))

    def nothing(self) -> OllamaReply:
        """Returns the reply to a request that asks for none, so that a model is loaded."""
        return self._reply(None, "", done_reason="load")

    def opening(self) -> bytes:
        return b""

    def piece(self, delta: Delta) -> bytes:
        if delta.channel is Channel.CONTENT:
            return self._line(self._reply(None, delta.text, done=False))
        return self._line(self._reply(delta.text, "", done=False)) if self.identity.show_reasoning else b""

    def called(self, call: CallDelta) -> bytes:
        return b""  # Ollama's clients take whole calls

    def probed(self, checkpoint: Checkpoint) -> bytes:
        return self._notice("probe", ProbeNotice.of(checkpoint))

    def progressed(self, notice: ProgressNotice) -> bytes:
        return self._notice("progress", notice)

    def closing(self, outcome: Outcome) -> bytes:
        called = self._line(self._reply(None, "", outcome.calls, done=False)) if outcome.calls else b""
        return called + self._line(self._reply(None, "", **ended(self.identity, outcome)))

    def failure(self, error: ApiError) -> bytes:
        return line(ollama_body(error))

    def _notice(self, kind: str, notice: BaseModel) -> bytes:
        """Returns a line that says nothing of the reply, with a notice in its `laser`."""
        silent = self._reply(None, "", done=False).model_dump(exclude_none=True)
        return line({**silent, "laser": {kind: notice.model_dump()}})

    def _line(self, reply: OllamaReply) -> bytes:
        told = reply.model_dump(exclude_none=True)
        return line(told if reply.laser is None else {**told, "laser": reply.laser.model_dump()})
