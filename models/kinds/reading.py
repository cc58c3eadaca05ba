"""Tells what kind of answer a request wants: from the signs in its words, else by the classifier, else `open`."""

from __future__ import annotations

from dataclasses import dataclass

from models.kinds import signs
from models.kinds.classifier import FILE, WEIGHTS, KindWeights
from models.kinds.kind import AnswerForm, AnswerKind
from models.kinds.said import Words, ends_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A kind of answer, and how a short one is written."""

    kind: AnswerKind
    form: AnswerForm = AnswerForm.WORDS


@dataclass(frozen=True, slots=True)
class KindReader:
    """Reads prompts. An error on the side of `open` costs tokens, one on the side of `short` a reply."""

    weights: KindWeights

    @classmethod
    def shipped(cls) -> KindReader:
        """Returns a reader with the weights that come with LASER. Raises KindsError if they are damaged."""
        return cls(WEIGHTS.read(FILE))

    def read(self, said: Words) -> Reading:
        """Returns what kind of answer the words want.

        What the system's messages say of a box or of brief answers holds where nothing speaks against it: they are sent
        along whatever is asked.
        """
        signed = signed_reading(said)
        if signed is not None:
            return signed
        kind, system = self.weights.kind(ends_of(said.asked)), ends_of(said.system)
        if kind is None:
            brief = signs.BOXED.search(system) or signs.BRIEF.search(system)
            kind = AnswerKind.SHORT if brief else AnswerKind.OPEN
        return Reading(kind=kind, form=form_of(said))


def signed_reading(said: Words) -> Reading | None:
    """Returns what signs tell; None: nothing. A command counts before a question beside it."""
    asked, system = ends_of(said.asked), ends_of(said.system)
    form = form_of(said)
    if signs.PROGRAM.search(asked):
        return Reading(kind=AnswerKind.CODE)
    if signs.STRUCTURED.search(asked) or signs.STRUCTURED.search(system) or signs.TOOLS.search(system):
        return Reading(kind=AnswerKind.STRUCTURED)
    if signs.TELL.search(asked) or signs.PROSE.search(asked):
        return Reading(kind=AnswerKind.OPEN)
    if signs.BOXED.search(asked) or signs.BRIEF.search(asked) or form is AnswerForm.CHOICE:
        return Reading(kind=AnswerKind.SHORT, form=form)
    return Reading(kind=AnswerKind.CODE) if signs.CODE_SHOWN.search(asked) else None


def form_of(said: Words) -> AnswerForm:
    """Returns how a short answer is to be written, should the request want one."""
    asked = ends_of(said.asked)
    if signs.BOXED.search(asked) or signs.BOXED.search(ends_of(said.system)):
        return AnswerForm.BOX
    return AnswerForm.CHOICE if signs.choices(asked) else AnswerForm.WORDS
