"""Calls as JSON objects, `{"name": …, "arguments": {…}}`: one, several, or a list of them."""

from __future__ import annotations

from enum import Enum, auto

from models.tools.call_body import CallBody, Offered
from models.tools.json_text import JsonText, value_of
from models.tools.pieces import CallPiece

_SPACE = " \t\n\r"
_BETWEEN = _SPACE + "[],;"  # between calls, and around a list of them
NAMES = ("name", "tool_name")
ARGUMENTS = ("arguments", "parameters")
OTHERS = ("id", "type", "tool_call_id")  # keys that a call may have besides


class _At(Enum):
    BETWEEN = auto()  # calls
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    NEXT = auto()  # a comma, or the end of the object
    SPOILED = auto()  # behind arguments that were told and are no JSON


class ObjectsBody(CallBody):
    """Objects that have a name and arguments; other keys are not read."""

    def __init__(self, *, end: str, offered: Offered, index: int, eager: bool, strange: bool = True) -> None:
        """`strange`: a call of a tool that is not offered is a call all the same."""
        super().__init__(end=end, offered=offered, index=index, eager=eager)
        self._strange = strange
        self._at = _At.BETWEEN
        self._begin()

    def _begin(self) -> None:
        self._name: str | None = None
        self._arguments: str | None = None  # whole, but not told yet
        self._streamed = False  # the arguments are told as they come
        self._key: str | None = None  # None: the value that comes is a key
        self._value = JsonText()
        self._said = ""  # of the value

    def _step(self) -> bool:
        match self._at:
            case _At.BETWEEN:
                return self._between()
            case _At.SPOILED:
                return self._spoiled()
        if self._said:
            return self._read()
        self._skip(_SPACE)
        if not self._text:
            return False
        match self._at, self._text[0]:
            case _At.KEY, '"':
                return self._read()
            case _At.COLON, ":":
                self._take(1)
                self._at = _At.VALUE
            case _At.VALUE, _:
                return self._read()
            case _At.NEXT, ",":
                self._take(1)
                self._at = _At.KEY
            case ((_At.NEXT | _At.KEY), "}"):
                self._take(1)
                self._end_object()
            case _At.NEXT, _ if self._may_end():
                return False
            case _At.NEXT, _ if self.end and self._text.startswith(self.end):
                self._end_object()  # whose last brace some models forget
            case _:
                self._at_fault()
        return True

    def _between(self) -> bool:
        self._skip(_BETWEEN if self.index > self._first else _SPACE + "[")
        if self._ended():
            return True
        if not self._text or self._may_end():
            return False
        if self._text[0] == "{":
            self._take(1)
            self._begin()
            self._at = _At.KEY
        elif self._text[0] == "}" and self.index > self._first:
            self._take(1)  # one too many, which some models write
        elif not self.end and self.index > self._first:
            self.behind, self._text, self._taken = self._text, "", ""
        else:
            self.broken = True
        return True

    def _read(self) -> bool:
        """Reads on in a key or a value."""
        had = len(self._text)
        if self._streams and not self._streamed:
            self._streamed = True
            self._tell("", name=self._name)
        clean, rest = self._value.push(self._text)
        self._take(had - len(rest))
        self._said += clean
        if self._streamed and self._at is _At.VALUE and self._key in ARGUMENTS and clean:
            self._tell(clean)
        if self._value.broken:
            self._at_fault()
        elif self._value.complete:
            self._end_value()
        else:
            return False
        return True

    @property
    def _streams(self) -> bool:
        """Whether the value that comes is told while it comes."""
        wanted = self._at is _At.VALUE and self._key in ARGUMENTS and self._arguments is None
        return self.eager and wanted and self._known and (self._said or self._text).startswith("{")

    @property
    def _known(self) -> bool:
        return self._name is not None and (self._strange or self._name in self.offered)

    def _end_value(self) -> None:
        said, self._said, self._value = self._said, "", JsonText()
        wanted = self._at is _At.KEY or self._key in (*NAMES, *ARGUMENTS)
        try:
            value = value_of(said) if wanted else None
        except ValueError:  # half a character, or a number of thousands of digits
            self._at = _At.NEXT
            self._at_fault()
            return
        if self._at is _At.KEY:
            self._key = value
            self._at = _At.COLON
            self.broken = not self._strange and self._key not in (*NAMES, *ARGUMENTS, *OTHERS)
            return
        self._at = _At.NEXT
        if self._key in NAMES:
            self._name = value if isinstance(value, str) and self._name is None else None
            self.broken = not self._known
        elif self._key in ARGUMENTS:
            self._arguments = arguments_of(said, value)
            if self._arguments is None and not self._streamed:
                self.broken = True

    def _end_object(self) -> None:
        if not self._known:
            self.broken = True
            return
        if not self._streamed:
            self._tell("{}" if self._arguments is None else self._arguments, name=self._name)
        self._next()
        self._at = _At.BETWEEN

    def _at_fault(self) -> None:
        """What comes is no JSON."""
        if self._streamed:
            self._at = _At.SPOILED
        else:
            self.broken = True

    def _spoiled(self) -> bool:
        """Tells what follows as arguments, since their beginning is told already, up to the end marker."""
        found = self._until(self.end) if self.end else None
        if found is None:
            keep = len(self.end) - 1 if self.end else 0
            said = self._take(max(0, len(self._text) - keep))
            if said:
                self._tell(said)
            return False
        if found[0]:
            self._tell(found[0])
        self._next()
        self.behind, self._text = self._text, ""
        return True

    def finish(self) -> list[CallPiece]:
        if self._at is _At.SPOILED and self._text:
            self._tell(self._take(len(self._text)))
        if self._at is _At.BETWEEN and self.index > self._first:
            self._taken = ""  # the end of a list
        return super().finish()


def arguments_of(said: str, value: object) -> str | None:
    """Returns the JSON of an object of arguments: itself, as a text that holds it, or null, which is an empty one.

    `value`: of the JSON `said`. None: it is something else.
    """
    if value is None:
        return "{}"
    if isinstance(value, str):
        if not value.strip():
            return "{}"
        try:
            inner = value_of(value)
        except ValueError:
            return None
        return value if isinstance(inner, dict) else None
    return said if isinstance(value, dict) else None
