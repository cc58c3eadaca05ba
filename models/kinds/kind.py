"""The kind of answer that a request wants, and how a short one is written."""

from __future__ import annotations

from enum import StrEnum


class AnswerKind(StrEnum):
    """What a reply is to be. Only kinds that a trial answer can stand for are probed."""

    SHORT = "short"  # a number, a choice, a name, an expression: a trial answer is the whole of it
    STRUCTURED = "structured"  # JSON or another text under a grammar, or a tool call
    CODE = "code"  # a program, or a change of one
    OPEN = "open"  # prose, a conversation, or whatever nothing tells of


class AnswerForm(StrEnum):
    """How a short answer is written, which says how a trial answer asks for it."""

    BOX = "box"  # in \\boxed{…}, as the prompt asks or as the model always writes it
    CHOICE = "choice"  # the label of one of the choices that the prompt lists
    WORDS = "words"  # as the model likes: a trial answer only tells how sure it is, and the model writes the reply
