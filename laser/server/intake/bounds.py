"""The bounds on a request's texts, which hold before any of them is rendered or encoded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from laser.server.api.chat import Message
from laser.server.api.errors import BadRequest, ContextTooLong, clipped

# bytes of texts that are no prompt's; those in Ollama's options are stops
BRIEF = {"stop": 1024, "stop_sequences": 1024, "options": 1024, "model": 1024, "service_tier": 1024, "id": 1024}
APART = "reasoning_budget_message"  # no prompt's, and as long as one
BARE = ("prompt", "content")  # fields that are encoded as they are
CHATS = ("messages", "input")
PRINTED = ("user", "tool")  # roles whose every message is in the prompt
SYSTEM = ("system", "developer")
MOST_VALUES = 10_000  # in one field, or in one entry of a field that is a list


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBounds:
    """The most that a model can take: a text of more bytes certainly has more tokens than fit."""

    tokens: int  # of prompt and reply together
    token_bytes: int  # at most, of one token
    certain: bool = True  # False: a text of more bytes may have fewer tokens, and is refused for its length alone

    @property
    def most_bytes(self) -> int:
        """The bytes of one text, and of all texts of a prompt together."""
        return self.tokens * self.token_bytes

    def check(self, request: BaseModel) -> None:
        """Raises BadRequest, naming the field, if a text is too long, or if a field has too many values."""
        for name, value in fields(request):
            _count(name, value)
            for path, text in texts(value, name):
                size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
                most = BRIEF.get(name, self.most_bytes)
                if name in BRIEF or name == APART:
                    if size > most:
                        raise BadRequest(f"{path} has {size} bytes, must be at most {most}", param=name)
                    continue
                if size > most:
                    raise self._too_long(size, path, name)
        if self.certain:
            self._count_messages(request)
        # not what a template may drop, such as earlier thoughts
        together = {name: len(text.encode("utf-8", "surrogatepass")) for name, text in certain_texts(request).items()}
        if sum(together.values()) > self.most_bytes:
            longest = max(together, key=lambda name: together[name])
            raise self._too_long(sum(together.values()), f"with {longest} it", longest)

    def _count_messages(self, request: BaseModel) -> None:
        for name in CHATS:
            messages = getattr(request, name, None)
            if isinstance(messages, tuple) and len(messages) > self.tokens:
                count = sum(_printed(each, PRINTED) is not None for each in messages)
                if count > self.tokens:
                    message = (
                        f"the prompt has at least {count} tokens, one a message, must be at most {self.tokens - 1}"
                    )
                    raise ContextTooLong(message, param=name)

    def _too_long(self, size: int, what: str, param: str) -> BadRequest:
        if not self.certain:
            return BadRequest(f"{what} has {size} bytes, must be at most {self.most_bytes}", param=param)
        return ContextTooLong(
            f"the prompt has at least {size // self.token_bytes} tokens, must be at most {self.tokens - 1}: "
            f"{what} has {size} bytes, may have {self.most_bytes}",
            param=param,
        )


def fields(request: BaseModel) -> Iterator[tuple[str, object]]:
    """Yields a request's fields with their values, also those that its class does not declare."""
    yield from request.__dict__.items()
    yield from (request.__pydantic_extra__ or {}).items()


def texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yields every text in a value with its path: keys are texts, too. `path` is the value's own."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, each in fields(value):
            yield from texts(each, f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield path, str(key)
            yield from texts(each, f"{path}.{clipped(str(key))}")
    elif isinstance(value, list | tuple) and not set(map(type, value)) <= {int, float, bool, type(None)}:
        for number, each in enumerate(value):
            yield from texts(each, f"{path}.{number}")


def prompt_texts(request: BaseModel) -> dict[str, str]:
    """Returns a request's texts by field, without those that are no part of a prompt."""
    found = {
        name: "\n".join(text for _, text in texts(value, name))
        for name, value in fields(request)
        if name not in BRIEF and name != APART
    }
    return {name: text for name, text in found.items() if text}


def certain_texts(request: BaseModel) -> dict[str, str]:
    """Returns the texts by field that every chat template prints: no assistant's turns, whose thoughts it may drop.

    Of several system messages a template may print one only, so they are left out.
    """
    found: dict[str, str] = {}
    instructions = getattr(request, "instructions", None)
    for name, value in fields(request):
        if name in BARE and isinstance(value, str):
            found[name] = value
        elif name in CHATS and isinstance(value, tuple):
            messages = [each for each in value if isinstance(each, Message)]
            systems = [each for each in messages if each.role in SYSTEM]
            kept = SYSTEM if len(systems) + bool(instructions) == 1 else ()
            found[name] = "\n".join(filter(None, (_printed(each, (*PRINTED, *kept)) for each in messages)))
            if instructions and not systems:
                found["instructions"] = instructions.strip()
    return {name: text for name, text in found.items() if text}


def _printed(message: object, roles: Collection[str]) -> str | None:
    """Returns what every template prints of a message; None: nothing for sure."""
    if not isinstance(message, Message) or message.role not in roles:
        return None
    return (message.content or "").strip() or None


def _count(name: str, value: object) -> None:
    """Raises BadRequest if a field, or one entry of a field that is a list, has more than MOST_VALUES values."""
    entries = enumerate(value) if isinstance(value, tuple | list) else [(None, value)]
    for number, entry in entries:
        if isinstance(entry, str | int | float | None):
            continue
        count = _values(entry)
        if count > MOST_VALUES:
            path = name if number is None else f"{name}.{number}"
            raise BadRequest(f"{path} has {count} values, must be at most {MOST_VALUES}", param=name)


def _values(value: object) -> int:
    if isinstance(value, BaseModel):
        return 1 + sum(_values(each) for _, each in fields(value))
    if isinstance(value, Mapping):
        return 1 + sum(map(_values, value.values()))
    if isinstance(value, list | tuple):
        return 1 + sum(map(_values, value))
    return 1
