"""What an API request is to the serving loop: prompt tokens that end inside an open thought, limits, sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.serving.fair_queue import Claim
from controller.serving.request import ReasoningRequest
from laser.server.api.answers.said import said_in_prompt
from laser.server.api.errors import BadRequest, ContextTooLong, clipped, shown
from laser.server.api.fields import GenerationFields, Slo
from laser.server.api.sampling.exit import asked_limits, check_exit
from laser.server.engine_process.served import ServedModel
from laser.server.intake.bounds import APART
from laser.server.intake.encoding import check_length, check_prompt
from laser.server.keys import Caller
from models.chat_model import Prompt
from models.grammar.grammar import Grammar, GrammarError
from models.kinds.kind import AnswerForm, AnswerKind
from models.kinds.reading import KindReader, Reading
from models.tokenizer import TokenizerError
from models.tools.form import CallFormat, marks_of
from models.tools.offer import CallMarks


class Preparation:
    """Makes requests for one deployed model; its method may run on any thread."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._room = served.room
        self._kinds = KindReader.shipped()

    def request(self, request: GenerationFields, seed: int, name: str, caller: Caller, slo: Slo) -> ReasoningRequest:
        """Returns what the loop serves of an API request, whose reply is called `name`. Raises ApiError on refusal."""
        self._check(request)
        calls = self._calls(request)
        policy = request.policy
        begun = self._prompt(request)
        prompt, form = begun.tokens, self._served.chat.thinking.format
        grammar = self._grammar(request)
        if request.scores_prompt and grammar is not None:
            message = f"{grammar.asked_by} holds the answer, must be left out where the prompt is scored"
            raise BadRequest(message, param=grammar.asked_by)
        answer = self._answer(request, prompt, held=grammar is not None)
        landing = None if policy.message is None else self._landing(policy.message, answer)
        max_tokens = self._max_tokens(request, len(prompt), landing)
        if not max_tokens and len(prompt) == 1:
            raise BadRequest("the prompt has 1 token, needs 2 or more where max_tokens is 0", param=request.prompt_name)
        stated_ms = None if request.laser is None else request.laser.deadline_ms
        budget = policy.budget(max_tokens, self._served.config.effort, form.effort)
        fixed = asked_limits(request, max_tokens)
        return ReasoningRequest(
            prompt=prompt,
            max_tokens=max_tokens,
            thinking=begun.thinking
            and (answer.kind is AnswerKind.SHORT or not form.in_the_open)
            and not request.scores_prompt,
            closed=begun.closed,
            continues=begun.continues,
            early_exit=request.laser is None or request.laser.early_exit is not False,
            sampling=request.sampling(self._served.chat.defaults, len(self._served.chat.tokenizer.texts), seed),
            stop=request.stops,
            budget=budget if fixed is None else None,
            max_budget=None if (most := self._served.config.max_budget) is None else min(most, max_tokens),
            difficulty=request.difficulty or self._class(answer, prompt),
            ease=self._served.ease(prompt) if answer.kind is AnswerKind.SHORT else None,
            landing=landing,
            deadline_s=slo.by_s(max_tokens, stated_ms),
            ttft_s=slo.ttft_s,
            name=name,
            claim=Claim(
                tenant=caller.name,
                weight=caller.weight,
                priority=request.priority,
                length=self._served.length(prompt),
            ),
            calls=calls,
            answer=answer.kind,
            form=answer.form,
            grammar=grammar,
            choices=request.made_choices,
            log_probs=request.kept_log_probs,
            min_tokens=self._min_tokens(request, max_tokens),
            endless=request.ignore_eos is True,
            stop_ids=request.stop_token_ids,
            fixed=fixed,
            scores_prompt=request.scores_prompt,
        )

    def _check(self, request: GenerationFields) -> None:
        """Raises BadRequest for what this model or this server does not have, whatever the prompt."""
        chat, config = self._served.chat, self._served.config
        request.check_choices(config.engine_options.max_batch)
        request.check_tokens(len(chat.tokenizer.texts) if chat.rows is None else chat.rows)
        check_exit(request, self._served.certified, probed=config.early_exit)

    def _answer(self, request: GenerationFields, prompt: Sequence[int], *, held: bool) -> Reading:
        """Returns the kind and form of answer that a request wants; its fields go before its words.

        `held`: a grammar holds the answer.

        A client that calls its answer short takes a trial answer for it, in a box.
        """
        read = self._kinds.read(request.said or said_in_prompt(prompt, self._served.chat))
        if self._served.chat.thinking.format.boxes:
            read = replace(read, form=AnswerForm.BOX)
        if request.answer is None:
            return replace(read, kind=AnswerKind.STRUCTURED) if held else read
        stated = request.answer is AnswerKind.SHORT and read.form is AnswerForm.WORDS
        return replace(read, kind=request.answer, form=AnswerForm.BOX if stated else read.form)

    def _class(self, answer: Reading, prompt: Sequence[int]) -> str | None:
        """Returns the difficulty class of a prompt; None: unknown, as calibration asks for short answers alone."""
        return self._served.classify(prompt) if answer.kind is AnswerKind.SHORT else None

    def _grammar(self, request: GenerationFields) -> Grammar | None:
        """Returns what the answer is held to. Raises BadRequest, which names the field, if that cannot be done."""
        try:
            grammar = request.asked_grammar()
            if request.offer is not None:
                grammar = self._served.chat.calls_grammar(request.offer, grammar)
            if grammar is not None:
                self._served.grammars.compiled(grammar)
        except GrammarError as error:
            raise BadRequest(clipped(str(error), 400), param=error.asked_by or None) from error
        return grammar

    def _prompt(self, request: GenerationFields) -> Prompt:
        check_prompt(request, self._served.chat.tokenizer.encode, self._room - 1)
        try:
            return request.prompt_tokens(self._served.chat)
        except TokenizerError as error:
            raise BadRequest(clipped(str(error), 200), param=request.prompt_name) from error

    def _calls(self, request: GenerationFields) -> CallMarks | None:
        """Returns what the loop must know of tool calls; None: no tool is offered.

        Raises BadRequest if it is not known how the model calls tools.
        """
        if request.offer is None:
            return None
        form = self._served.chat.call_form
        if form is None:
            known = ", ".join(CallFormat)
            message = (
                "tools are not read for this model: its chat template takes them and shows none of the forms of calls "
                f"that are known ({known}); `tools` in its thinking format may name one"
            )
            raise BadRequest(message, param="tools")
        return marks_of(form)

    def _landing(self, message: str, answer: Reading) -> tuple[int, ...]:
        """Returns the tokens that close a thought with the client's message.

        Raises BadRequest if the message has the closing marker.
        """
        param, chat, thinking = APART, self._served.chat, self._served.chat.thinking
        check_length({param: message}, chat.tokenizer.encode, self._room - 1)
        for closer in thinking.format.closers:
            if closer in message and not thinking.format.in_the_open:
                raise BadRequest(f"{param} has the closing marker {closer!r}, which follows it anyway", param=param)
        return (*chat.tokenizer.encode_text(message), *thinking.after_words(answer.kind, answer.form))

    def _max_tokens(self, request: GenerationFields, prompt: int, landing: tuple[int, ...] | None) -> int:
        """Returns the reply's token limit. Raises ContextTooLong if prompt and reply do not fit together."""
        both = self._served.room_for(landing)
        room = both - prompt
        spare = self._room - prompt - (request.limit or 1)  # without a message of the client's
        if landing is not None and 0 <= spare < self._room - both:
            raise ContextTooLong(
                f"{APART} has {len(landing)} tokens with the closing, must be at most "
                f"{len(landing) - (self._room - both) + spare} beside this prompt and this {request.limit_name}",
                param=APART,
            )
        if room < 1:
            raise self._too_long(str(prompt), request, both)
        if request.limit is None:
            return min(self._served.config.default_max_tokens, room)
        if request.limit > room and request.takes_less:
            return room
        if request.limit > room:
            raise ContextTooLong(
                f"{request.limit_name} is {shown(request.limit)}, must be at most {room}: the prompt has {prompt} of "
                f"the {both} tokens that prompt and reply may have together",
                param=request.limit_name,
            )
        return request.limit

    @staticmethod
    def _min_tokens(request: GenerationFields, most: int) -> int:
        """Returns the tokens that the reply must have. Raises BadRequest if they are more than it may have: `most`."""
        least = request.min_tokens or 0
        if least > most:
            message = f"min_tokens is {shown(least)}, must be at most {most}, which the longest reply has"
            raise BadRequest(message, param="min_tokens")
        return least

    def _too_long(self, tokens: str, request: GenerationFields, both: int) -> ContextTooLong:
        message = f"the prompt has {tokens} tokens, must be at most {both - 1}"
        return ContextTooLong(message, param=request.prompt_name)
