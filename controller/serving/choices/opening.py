"""What a request is when it comes: the replies that it asks for, and what an engine is to decode for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.serving.active import ActiveRequest
from controller.serving.answers.held import AnswerGrammars, HeldAnswer
from controller.serving.choices.recital import reciting
from controller.serving.choices.together import Together
from controller.serving.fair_queue import Claim
from controller.serving.reply import Reply
from controller.serving.request import ProbeObserver, ReasoningRequest, RequestId, Sink
from controller.serving.status import ProgressObserver, ProgressWatch
from engine.base import Capabilities, CapacityError, Request
from engine.checks import check_asked
from engine.constraint import Constraint
from models.formats.ending import EndFinder
from models.thinking import ThinkingTokens
from models.tokenizer import Decoder


class Opening:
    """Makes the replies to requests, still empty, for a model of one thinking format."""

    def __init__(
        self, *, thinking: ThinkingTokens, tokenizer: Decoder, answers: AnswerGrammars, capabilities: Capabilities,
        stops: frozenset[int], probe_room: int,
    ) -> None:  # fmt: skip
        """`stops`: tokens at which an engine ends a sequence. `probe_room`: the most tokens of a probe."""
        self._thinking = thinking
        self._tokenizer = tokenizer
        self._answers = answers
        self._capabilities = capabilities
        self._stops = stops
        self._probe_room = probe_room

    def held(self, request: ReasoningRequest) -> HeldAnswer | None:
        """Returns what holds a request's answer; None: nothing does. Raises GrammarError or UnsupportedError."""
        return self._answers.of(request, self._capabilities)

    def landing(self, request: ReasoningRequest, held: HeldAnswer | None) -> tuple[int, ...]:
        """Returns what closes the request's thought if it is cut."""
        own = self._thinking.landing_for(request.answer, request.form) if request.landing is None else request.landing
        return own if held is None else self._answers.landing(own)

    def cells(self, request: ReasoningRequest, landing: tuple[int, ...], room: int) -> int:
        """Returns the cells of KV cache that one reply may need, those of a probe included.

        Raises CapacityError if prompt and reply have more tokens than `room`, UnsupportedError for what the engine
        lacks of what is asked.
        """
        tokens = len(request.prompt) + request.max_tokens
        if tokens > room:
            raise CapacityError(
                f"the prompt has {len(request.prompt)} tokens and max_tokens is {request.max_tokens}: "
                f"together {tokens}, must be at most {room}"
            )
        if request.scores_prompt:
            self._capabilities.need("constraints", "echo is true beside logprobs, which tells those of the prompt")
        check_asked(self.for_engine(request), self._capabilities)
        return tokens + (self._probe_room + len(landing) if request.thinking else 0)

    def replies(
        self, request: ReasoningRequest, sink: Sink, ids: Iterator[int], *, landing: tuple[int, ...], cells: int,
        claim: Claim, came_s: float, observe: ProbeObserver | None, on_begin: Callable[[], None] | None,
        watch: ProgressObserver | None,
    ) -> Together:  # fmt: skip
        """Returns the replies to a request, which came at `came_s`; the first begins for all. See ActiveRequest."""
        together = Together(RequestId(next(ids)))
        for choice in range(request.choices):
            held = self.held(request)
            answer_room = self._answer_room(request, held)
            ActiveRequest(
                id=RequestId(next(ids)) if choice else together.id,
                request=request.alone(choice),
                sink=sink,
                observe=observe,
                on_begin=None if choice else on_begin,
                watch=None if watch is None else ProgressWatch(watch),
                reply=self._reply(request, sink, choice),
                submitted_s=came_s,
                landing=landing,
                finder=self._finder(request),
                budget_cap=self._budget_cap(request, landing, answer_room),
                answer_room=answer_room,
                prompt_tokens=len(request.prompt),
                cells=cells,
                claim=claim,
                together=together,
                choice=choice,
                held=held,
            )
        return together

    def rival(self, lead: ActiveRequest, id: RequestId, request: ReasoningRequest, place: int) -> ActiveRequest:
        """Returns one more thought of a request that begins, still empty; `place`: in their race, from 1 on."""
        return ActiveRequest(
            id=id,
            request=request,
            sink=lead.sink,
            observe=None,
            reply=self._reply(request, lead.sink, 0),
            submitted_s=lead.submitted_s,
            landing=lead.landing,
            finder=self._finder(request),
            budget_cap=lead.budget_cap,
            answer_room=lead.answer_room,
            prompt_tokens=len(request.prompt),
            cells=lead.cells,
            claim=lead.claim,
            together=lead.together,
            choice=place,
        )

    def for_engine(
        self, request: ReasoningRequest, landing: tuple[int, ...] = (), *, banned: frozenset[int] = frozenset(),
        constraint: Constraint | None = None,
    ) -> Request:  # fmt: skip
        """Returns what an engine is asked for; `landing`: what closes the thought in the prompt."""
        asked = Request(
            prompt=request.prompt + landing,
            max_new_tokens=request.max_tokens or 1,  # a scored prompt may stand alone
            sampling=request.sampling,
            stop_tokens=self._stops,
            stops_armed=False,
            banned=banned,
            probe_room=self._probe_room if request.thinking else 0,
            constraint=constraint,
            log_probs=request.log_probs,
        )
        return reciting(asked, request.max_tokens) if request.scores_prompt else asked

    def _reply(self, request: ReasoningRequest, sink: Sink, choice: int) -> Reply:
        thinking, kept = self._thinking, () if request.calls is None else request.calls.kept
        unshown = thinking.unshown_beside(kept) if kept else thinking.unshown
        return Reply(
            emit=sink,
            decoder=self._tokenizer.stream,
            thinking=request.thinking and not thinking.format.in_the_open,
            going_on=self._tokenizer.stream(request.prompt) if request.continues else None,
            stop=request.stop,
            unshown=unshown if request.thinking or request.closed else None,
            choice=choice,
            scored=request.log_probs is not None,
        )

    def _finder(self, request: ReasoningRequest) -> EndFinder | None:
        """Returns what finds the end of a request's thought; None: there is none, or a single token ends it."""
        starts = () if request.calls is None else request.calls.starts
        return self._thinking.finder(starts) if request.thinking else None

    def _answer_room(self, request: ReasoningRequest, held: HeldAnswer | None) -> int:
        """Returns the tokens of max_tokens that no thought may take: a share, and at least the shortest answer."""
        most, reserve, answers = request.max_tokens, self._thinking.format.answer_reserve, self._answers
        if held is None:
            return min(reserve, most // 2)
        return max(min(max(reserve, answers.ample(held)), most // 2), min(answers.least(held), most))

    def _budget_cap(self, request: ReasoningRequest, landing: tuple[int, ...], answer_room: int) -> int:
        """Returns what max_tokens leaves for the thought after its closing and the answer, at most max_budget."""
        known = self._thinking.close_id is not None or self._thinking.format.in_the_open
        wait = 0 if known else len(self._thinking.close)  # until it is decided whether a marker has come
        left = max(0, request.max_tokens - max(len(landing), self._probe_room) - answer_room - wait)
        return left if request.max_budget is None else min(left, request.max_budget)
