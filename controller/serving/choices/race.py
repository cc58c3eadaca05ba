"""Races: several thoughts of one prompt from one prefill, of which one becomes the reply, where places are idle.

A race begins with its request, if the policy's limits say so, nobody waits, and all its thoughts fit beside what runs.
The request's own thought is the first; its rivals are sampled as the race's rule says, with seeds of their own. What
they say is held until the race is decided: the winner's text and outcome are the request's, and all others are
cancelled at once.

Rivals are shed before anybody waits for them, the youngest first, and as soon as the policy wants no race. A race that
has lost rivals goes on among those that are left: a first thought whose answer is to be counted beside two others'
obeys no limits that the policy has meanwhile. Of a vote that is left with two the first thought is the reply, and
the other is shed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from controller.policy import UNLIMITED, Policy
from controller.serving.active import ActiveRequest
from controller.serving.admission import Admission
from controller.serving.choices.accounts import decoded
from controller.serving.choices.ballot import Ballot, voted
from controller.serving.choices.opening import Opening
from controller.serving.choices.together import Together, for_each
from controller.serving.engine_requests import EngineRequests
from controller.serving.ordering.turns import ServingTurns
from controller.serving.reply import Channel, Delta
from controller.serving.request import Outcome, ReasoningRequest, RequestId, Sink
from engine.base import FinishReason, Sampling
from models.kinds.kind import AnswerKind
from models.profile.width import RaceRule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceEnd:
    """A thought of a race that has ended with a reply."""

    active: ActiveRequest
    reason: FinishReason


class Race:
    """The thoughts of one request that race."""

    def __init__(self, lead: ActiveRequest, rule: RaceRule) -> None:
        """`lead`: the request's own thought; what it says is heard here from now on."""
        self.lead = lead
        self.rule = rule
        self._sink: Sink = lead.sink
        self._ballot = Ballot(rule.width, vote=rule.vote)
        self._heard: dict[RequestId, list[Delta]] = {}
        self._ended: dict[int, RaceEnd] = {}  # by place
        self._all: list[ActiveRequest] = []  # that have begun
        self.add(lead)

    def add(self, active: ActiveRequest) -> None:
        """Takes in a thought that is to begin: what it says is heard here."""
        heard = self._heard[active.id] = []

        def hear(news: Delta | Outcome) -> None:
            if isinstance(news, Delta):
                heard.append(news)

        self._all.append(active)
        active.join(self, hear)

    @property
    def thoughts(self) -> tuple[ActiveRequest, ...]:
        """All its thoughts that have begun, those that were shed or have failed among them."""
        return tuple(self._all)

    @property
    def ended(self) -> tuple[ActiveRequest, ...]:
        """Its thoughts that have ended with a reply."""
        return tuple(one.active for one in self._ended.values())

    def end(self, active: ActiveRequest, reason: FinishReason) -> RaceEnd | None:
        """A thought has ended with a reply. Returns the winner; None: the race goes on."""
        said = "".join(one.text for one in self._heard[active.id] if one.channel is Channel.CONTENT)
        self._ended[active.choice] = RaceEnd(active=active, reason=reason)
        return self._winner(self._ballot.answer(active.choice, voted(said)))

    def lose(self, active: ActiveRequest) -> RaceEnd | None:
        """A thought was shed, or has failed. Returns the winner; None: the race goes on, or nobody has answered."""
        return self._winner(self._ballot.drop(active.choice))

    @property
    def counts(self) -> bool:
        """Whether answers of full thoughts are in that the first thought's is to be counted with: it is full, too.

        That holds also where the policy wants no race any more, and its limits would close a thought alone.
        """
        return len(self._ended) > 1

    @property
    def needless(self) -> tuple[ActiveRequest, ...]:
        """Thoughts that go on although the first one is the reply, whatever they say."""
        return tuple(one for one in self.lead.together if one is not self.lead and self._ballot.waits_for_first)

    def _winner(self, place: int | None) -> RaceEnd | None:
        return None if place is None else self._ended[place]

    def tell(self, winner: ActiveRequest, outcome: Outcome, now: float) -> Outcome:
        """Passes the winner's text on; returns the outcome as the request's, with the rows of all thoughts."""
        lost = [active for active in self._all if active is not winner]
        made = replace(
            outcome,
            choice=0,
            prompt_tokens=winner.prompt_tokens,
            ttft_s=None if outcome.ttft_s is None else now - winner.submitted_s,
            width=self.rule.width,
            raced_rows=sum(active.rows for active in lost),
            raced_tokens=sum(map(decoded, lost)),
            reproducible=False,
        )
        for news in self._heard[winner.id]:
            self._sink(news)
        winner.sink = self._sink
        return made


class Racing:
    """Begins the races of one loop, sheds rivals, and settles races that are won."""

    def __init__(
        self, *, policy: Policy, certified: frozenset[AnswerKind] | None, opening: Opening,
        admission: Admission[ActiveRequest], in_engine: EngineRequests, ids: Iterator[int],
        drop: Callable[[ActiveRequest], None], tell: Callable[[ActiveRequest, FinishReason], None],
    ) -> None:  # fmt: skip
        """`certified`: kinds of answers that the policy's limits hold for; None: all.

        `drop` takes a thought out of the loop and the engine; `tell` tells the outcome of a winner that has left them.
        """
        self._policy = policy
        self._certified = certified
        self._opening = opening
        self._admission = admission
        self._in_engine = in_engine
        self._ids = ids
        self._drop = drop
        self._tell = tell
        self._rivals: dict[RequestId, ActiveRequest] = {}  # that have not ended, oldest first

    @property
    def beside(self) -> int:
        """The thoughts that go on beside another one of their race."""
        return sum(rival.together.lead is not rival for rival in self._rivals.values())

    def may_join(self, active: ActiveRequest) -> bool:
        """Whether a request races where places are idle, by the policy's present limits."""
        return self._joins(active) is not None

    def begin(self, lead: ActiveRequest, step: int) -> Together:
        """Returns the thoughts with which a request begins whose turn has come: rivals, too, if there is to be a race.

        The request has left the queue after the loop's step `step`, and the engine does not have it yet.
        """
        rule = self._joins(lead)
        if rule is None or len(self._admission) or lead.ending:  # one that is to end now waits for no rival
            return lead.together
        free = self._admission.free(len(self._in_engine))
        if free < rule.width or not self._in_engine.has_room(rule.width * lead.cells):
            return lead.together
        race = Race(lead, rule)
        for place in range(1, rule.width):
            rival = self._opening.rival(lead, RequestId(next(self._ids)), _rival(lead.request, rule, place), place)
            rival.begin(step)
            race.add(rival)
            self._rivals[rival.id] = rival
        return lead.together

    def next(self, turns: ServingTurns, step: int) -> ActiveRequest | None:
        """Takes the request out of the queue that begins now, for which rivals are shed; None: none does.

        `step`: the loop's.
        """
        head = self._admission.head()
        if head is not None:
            self.make_room(head.together.cells)
        return turns.next(step)

    def make_room(self, cells: int) -> None:
        """Sheds rivals, the youngest first, until a request of `cells` cells may begin or no rival can be shed."""
        while not (self._admission.slot_free(len(self._in_engine)) and self._in_engine.has_room(cells)):
            last = next((rival for rival in reversed(self._rivals.values()) if _can_be_shed(rival)), None)
            if last is None:
                return
            self._shed(last)

    def follow(self) -> None:
        """Sheds the rivals of races that the policy wants no more."""
        for rival in [one for one in self._rivals.values() if one.race is not None and not self._rule(one.race.lead)]:
            if rival.id in self._rivals and _can_be_shed(rival):
                self._shed(rival)

    def left(self, active: ActiveRequest) -> None:
        """A request has left the loop."""
        self._rivals.pop(active.id, None)

    def ended(self, active: ActiveRequest, reason: FinishReason, *, failed: bool) -> bool:
        """A thought has left the loop, ended or failed. Returns whether this is told of, or its race goes on.

        False: it was alone, or all of its race have failed.
        """
        race = active.race
        if race is None:
            return False
        if failed:
            return self._lost(race, active) or len(active.together) > 0
        won = race.end(active, reason)
        if won is not None:
            self._settle(won)
        return won is not None or len(active.together) > 0

    def _joins(self, active: ActiveRequest) -> RaceRule | None:
        """Returns how a request is to race now where places are idle; None: it is not, however many are."""
        rule = self._rule(active) if self._in_engine.can_sample and active.observe is None else None
        return rule if rule is not None and may_race(active.request, rule) else None

    def _rule(self, lead: ActiveRequest) -> RaceRule | None:
        """Returns how a request is to race now; None: it is not, or the policy has failed on the question."""
        request = lead.request
        if self._certified is not None and request.answer not in self._certified:
            return None
        try:
            return self._policy.limits(request.difficulty).race
        except Exception:  # the request meets it itself, at its thought's next look; others' races go on
            log.exception("the policy has failed on a request of class %s, which does not race", request.difficulty)
            return None

    def _shed(self, rival: ActiveRequest) -> None:
        try:
            self._drop(rival)
        finally:  # an engine that cannot end it is no reason to wait for its answer
            if rival.race is not None:
                self._lost(rival.race, rival)

    def _lost(self, race: Race, active: ActiveRequest) -> bool:
        """A race has lost a thought; returns whether it is decided. Whoever it does not need any more is shed."""
        won = race.lose(active)
        if won is not None:
            self._settle(won)
        for rival in race.needless:
            self._shed(rival)
        return won is not None

    def _settle(self, won: RaceEnd) -> None:
        try:
            for_each(self._drop, won.active.together)
        finally:  # an engine that cannot end them, or its panic, keeps no client waiting
            self._tell(won.active, won.reason)


def _can_be_shed(rival: ActiveRequest) -> bool:
    """Whether its race goes on without it: the last thought of a race whose others have failed is the reply."""
    race = rival.race
    return len(rival.together) > 1 or (race is not None and bool(race.ended))


def all_begun(gone: Sequence[ActiveRequest]) -> Sequence[ActiveRequest]:
    """Returns the replies of a request that its client leaves; of one that races, all thoughts that have begun."""
    race = gone[0].race if gone else None
    return gone if race is None else race.thoughts


def may_race(request: ReasoningRequest, rule: RaceRule) -> bool:
    """Whether thoughts of a request may race: one plain short answer is wanted, drawn as the rule's requests are."""
    plain = request.choices == 1 and request.calls is None and request.grammar is None and request.log_probs is None
    drawn = replace(request.sampling, seed=0) == Sampling(temperature=rule.asked)
    return plain and drawn and request.left_to_policy


def _rival(request: ReasoningRequest, rule: RaceRule, place: int) -> ReasoningRequest:
    """Returns the request for the thought at a place of a race, counted from 1: a full one, with draws of its own."""
    sampling = Sampling(temperature=rule.temperature, seed=request.sampling.seed + place)
    return replace(request, sampling=sampling, fixed=UNLIMITED, name=f"{request.name}#{place}")
