"""Calls as tags, `<function=NAME><parameter=KEY>VALUE</parameter></function>`, as Qwen3-Coder's and GLM's models do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from models.tools.call_body import CallBody, Offered
from models.tools.json_text import json_of, value_of

_SPACE = " \t\n\r"
_NAME = re.compile(r"\s*([\w.-]{1,256})\s*")
_TOLD_ELSEWHERE = frozenset(("anyOf", "oneOf", "allOf", "$ref", "const", "enum"))  # what a schema without a type is of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The tags of one call."""

    name: tuple[str, str] = ("<function=", ">")  # before and behind the tool's name
    key: tuple[str, str] = ("<parameter=", ">")  # before and behind a parameter's name
    value: tuple[str, str] = ("", "</parameter>")  # before and behind its value
    close: str = "</function>"  # behind the last parameter; empty: nothing is


FUNCTION = Tags()
PAIRS = Tags(name=("", ""), key=("<arg_key>", "</arg_key>"), value=("<arg_value>", "</arg_value>"), close="")


class _At(Enum):
    CALL = auto()  # the tag before a name
    NAME = auto()
    PARAMETER = auto()  # the tag before a key, or the end
    KEY = auto()
    VALUE_TAG = auto()
    VALUE = auto()
    END = auto()


class TaggedBody(CallBody):
    """Calls in tags. A value is a text unless the tool's schema says otherwise."""

    def __init__(self, *, end: str, tags: Tags, offered: Offered, index: int, eager: bool) -> None:
        super().__init__(end=end, offered=offered, index=index, eager=eager)
        self._tags = tags
        self._at = _At.CALL
        self._name = ""
        self._key = ""
        self._arguments: list[str] = []  # of the present call, not told yet: `"key": value`
        self._named = False  # the present call is told

    def _step(self) -> bool:
        match self._at:
            case _At.CALL:
                return self._passed(self._tags.name[0], then=_At.NAME)
            case _At.NAME:
                return self._read_name()
            case _At.PARAMETER:
                return self._read_parameter()
            case _At.KEY:
                return self._read_key()
            case _At.VALUE_TAG:
                return self._passed(self._tags.value[0], then=_At.VALUE)
            case _At.VALUE:
                return self._read_value()
            case _At.END:
                return self._read_end()

    def _read_name(self) -> bool:
        closing = self._tags.name[1]
        ends = (closing,) if closing else (self._tags.key[0], self.end)  # the name reaches to the first parameter
        found = self._until(*ends)
        if found is None:
            self.broken = len(self._text) > 1024
            return self.broken
        if not closing:
            self._put_back(found[1])
        name = _NAME.fullmatch(found[0])
        self.broken = name is None
        self._name = "" if name is None else name[1]
        self._arguments, self._named, self._at = [], False, _At.PARAMETER
        return True

    def _read_parameter(self) -> bool:
        self._skip(_SPACE)
        if self._tags.close and self._text.startswith(self._tags.close):
            self._take(len(self._tags.close))
            self._close()
            return True
        if self.end and self._text.startswith(self.end):  # some models forget the tag before it
            self._close()
            return True
        return self._passed(self._tags.key[0], then=_At.KEY)

    def _read_key(self) -> bool:
        found = self._until(self._tags.key[1])
        if found is not None:
            self._key, self._at = found[0].strip(), _At.VALUE_TAG
        return found is not None

    def _read_value(self) -> bool:
        found = self._until(self._tags.value[1])
        if found is None:
            return False
        text = found[0]
        if not self._tags.value[0]:  # the line ends around it are the tags'
            text = text.removeprefix("\n").removesuffix("\n")
        value = typed(text, _schema(self.offered, self._name, self._key))
        self._arguments.append(f"{json_of(self._key)}: {json_of(value)}")
        if self.eager:
            so_far, self._arguments = ", ".join(self._arguments), []
            self._tell(f", {so_far}" if self._named else f"{{{so_far}", name=None if self._named else self._name)
            self._named = True
        self._at = _At.PARAMETER
        return True

    def _close(self) -> None:
        """The present call is whole."""
        if self._named:
            self._tell("}")
        else:
            self._tell(f"{{{', '.join(self._arguments)}}}", name=self._name)
        self._next()
        self._at = _At.END

    def _read_end(self) -> bool:
        self._skip(_SPACE)
        if self._ended():
            return True
        if not self._text or self._may_end():
            return False
        self.broken = not self._tags.name[0]
        self._at = _At.CALL
        return True

    def _passed(self, tag: str, *, then: _At) -> bool:
        """Takes a tag that is to come next, behind white space, and goes to `then`.

        If something else comes, a call that is told ends here, and the rest is content.
        """
        if tag:
            self._skip(_SPACE)
        if self._text.startswith(tag):
            self._take(len(tag))
            self._at = then
            return True
        if any(mark and mark.startswith(self._text) for mark in (tag, self._tags.close, self.end)):
            return False
        if self._named and self._at is not _At.CALL:
            self._tell("}")
            self._next()
        self.broken = True
        return True

    def _put_back(self, tag: str) -> None:
        """Gives back a tag that was just taken."""
        self._taken = self._taken[: -len(tag)]
        self._text = tag + self._text


def is_text(schema: Mapping[str, Any]) -> bool:
    """Whether a parameter of this schema stands in its tags as a text, without quotation marks."""
    kinds = _kinds(schema)
    return "string" in kinds or (not kinds and not _TOLD_ELSEWHERE & schema.keys())


def typed(text: str, schema: Mapping[str, Any]) -> Any:
    """Returns a parameter's value as its schema wants it: JSON, or the text itself where that is a text or no JSON."""
    kinds, among = _kinds(schema), schema.get("enum")
    if not kinds and isinstance(among, list) and any(isinstance(each, str) for each in among):
        return text
    if is_text(schema) and not (kinds == {"string", "null"} and text.strip() == "null"):
        return text
    try:
        return value_of(text)
    except ValueError:
        words = {"True": True, "False": False, "None": None}
        return words.get(text.strip(), text)


def _kinds(schema: Mapping[str, Any]) -> frozenset[str]:
    """Returns the types that a schema names; none: it names none."""
    said = schema.get("type")
    return frozenset(each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str))


def _schema(offered: Offered, name: str, key: str) -> Mapping[str, Any]:
    """Returns the schema of a tool's parameter; empty: nothing is said of it."""
    properties = offered.get(name, {}).get("properties")
    found = properties.get(key) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}
