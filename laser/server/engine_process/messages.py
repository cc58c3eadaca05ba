"""All that crosses between who serves HTTP and who runs the loop: text, token ids, log-probabilities and counts.

Commands go to the loop, events come back. In one process they are handed over as they are; between processes
`wire.py` packs them. They name no object of either side, so another machine could send them, too. A request has a
number, which the sender of `Submit` gives it; a call has one, too, which its answer repeats.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

from controller.serving.admission import QueueState
from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel
from controller.serving.request import Checkpoint, Outcome, ReasoningRequest
from controller.serving.status import LoopStatus, RequestProgress
from engine.base import EngineLoad
from models.profile.difficulty import Difficulty
from models.profile.levers.switch import Switch
from models.profile.savings import Gained
from models.profile.tables import OperatingPoint

SHUTTING_DOWN = "the server is shutting down"  # why requests fail that have not ended when the server ends


class EngineMessage(Struct, frozen=True, kw_only=True, array_like=True, tag=True, gc=False):
    """One message; on the wire it is an array that begins with its class's name."""


# --- commands -------------------------------------------------------------------------------------------------------


class Submit(EngineMessage, frozen=True):
    """Queue a request. `Accepted` or `NotAccepted` answers."""

    number: int
    request: ReasoningRequest
    probes: bool  # also tell the trial answers of its thought
    progress: bool = False  # also tell how far it is
    streamed: bool = True  # its texts are read as they come; false: once it has ended


class Cancel(EngineMessage, frozen=True):
    """Drop a request. `Gone` answers, unless the request has ended."""

    number: int


class EndThought(EngineMessage, frozen=True):
    """Close a request's thought as soon as possible. `ThoughtEnded` answers."""

    call: int
    number: int


class TurnedAway(EngineMessage, frozen=True):
    """Count a request that was turned away before it was read."""


class Inquire(EngineMessage, frozen=True):
    """Tell what is known. `Seen` answers: between two steps with `whole`, else at once."""

    call: int
    whole: bool  # with the loop's status


class Ping(EngineMessage, frozen=True):
    """Show that the process runs. `Pong` answers."""


class Stop(EngineMessage, frozen=True):
    """End after the present step; requests that have not ended fail."""


Command: TypeAlias = Submit | Cancel | EndThought | TurnedAway | Inquire | Ping | Stop


# --- events ---------------------------------------------------------------------------------------------------------


class Refusal(StrEnum):
    """Why a request is not queued."""

    CAPACITY = "capacity"  # it can never fit
    INVALID = "invalid"  # the engine cannot serve it
    OVERLOADED = "overloaded"  # too many wait
    FAILURE = "failure"  # the engine failed


class Accepted(EngineMessage, frozen=True):
    """A request is queued."""

    number: int


class NotAccepted(EngineMessage, frozen=True):
    """A request is not queued."""

    number: int
    why: Refusal
    message: str
    retry_after_s: float = 0.0  # where too many wait


class Handled(EngineMessage, frozen=True):
    """Work on a request's grammar, before it begins, is about to be done: it may end the process. Else it is over."""

    number: int
    over: bool


class Began(EngineMessage, frozen=True):
    """A request is handed to the engine. It is sent before the engine's next step, which may be its last."""

    number: int


class Said(EngineMessage, frozen=True):
    """Text of a reply, of one token or of many."""

    number: int
    channel: Channel
    text: str
    scores: tuple[TokenScore, ...] = ()  # of its tokens, where they are asked for
    choice: int = 0  # the reply's place among those to one request


class TrialAnswered(EngineMessage, frozen=True):
    """A trial answer of a request's thought."""

    number: int
    checkpoint: Checkpoint


class Progressed(EngineMessage, frozen=True):
    """How far a request is."""

    number: int
    progress: RequestProgress


class Ended(EngineMessage, frozen=True):
    """The last of a request, or of one of the replies to it: the outcome says how many go on."""

    number: int
    outcome: Outcome


class Failed(EngineMessage, frozen=True):
    """The last of a request that has no outcome: the engine failed."""

    number: int
    message: str


class Gone(EngineMessage, frozen=True):
    """A request is dropped, as `Cancel` asked."""

    number: int
    outcome: Outcome | None  # what it has cost; None: nothing. Of several replies each has a message


class ThoughtEnded(EngineMessage, frozen=True):
    """The answer to `EndThought`."""

    call: int
    ended: bool  # a thought was running


class PolicyReport(EngineMessage, frozen=True):
    """What the policy knows."""

    controller: dict[str, Any]  # fields of a ControllerReport
    gained: Gained | None  # None: there is no estimate


class Seen(EngineMessage, frozen=True):
    """The answer to `Inquire`."""

    call: int
    status: LoopStatus | None = None  # None: it was not asked for, or cannot be told
    report: PolicyReport | None = None  # None: nothing is known of the policy
    failure: str | None = None  # why the status cannot be told; None: it can


class Shown(EngineMessage, frozen=True):
    """The queue has moved."""

    queue: QueueState
    load: EngineLoad


class Broken(EngineMessage, frozen=True):
    """The engine serves no request any more; only a new process can."""

    message: str


class Pong(EngineMessage, frozen=True):
    """The process runs."""

    step_s: float | None  # since when the present step runs; None: there is none


class Loading(EngineMessage, frozen=True):
    """A stage of the start has begun, or has got on."""

    stage: str
    share: float | None = None  # of the stage that is done; None: not known


class Deployed(EngineMessage, frozen=True):
    """The model is loaded: what its prompts must be prepared for."""

    model_id: str
    vocabulary: int  # tokens that the model has a row for
    room: int  # the most tokens that a prompt and its reply may have together
    engine: str  # the engine's name
    knows: str | None  # what the model can be asked; None: it is not the bundled one
    difficulty: Difficulty | None  # None: there is no profile
    tells_length: bool  # requests are to tell their predicted length
    certified: tuple[OperatingPoint, ...] | None  # corners of what a request may ask of its exit; None: anything
    cells: int  # of the KV cache
    report: PolicyReport  # what the policy knows before the first request
    switch: Switch | None = None  # tells prompts that need no thought; None: none is answered at once


class Unloaded(EngineMessage, frozen=True):
    """The model cannot be loaded."""

    lines: tuple[str, ...]  # a line for each fault


Event: TypeAlias = (
    Accepted | NotAccepted | Handled | Began | Said | TrialAnswered | Progressed | Ended | Failed | Gone | ThoughtEnded
    | Seen | Shown | Broken | Pong | Loading | Deployed | Unloaded
)  # fmt: skip
