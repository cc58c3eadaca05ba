"""A tokenizer's control tokens, and a copy of the tokenizer that knows them by hidden spellings only.

What a client writes never has a hidden spelling, so the copy encodes every marker that a client spells as plain text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, Tokenizer

_WRAPPED = re.compile(r"\s*[<\[{|＜【].*[>\]}|＞】]\s*", re.DOTALL)
_PRIVATE = 0x100000  # the first of 65,534 characters that have no meaning in Unicode
_DIGITS = 4096


class Markers:
    """The control tokens of a tokenizer: every special token, added ones in brackets, such as `<think>`, and `named`.

    Other added tokens, such as runs of blanks, are ordinary text.
    """

    def __init__(self, fast: Tokenizer, named: AbstractSet[int] = frozenset()) -> None:
        self._fast = fast
        controls = {
            number: token
            for number, token in fast.get_added_tokens_decoder().items()
            if (number in named or _controls(token)) and not (token.special and fast.encode_special_tokens)
        }
        frame = "".join(chr(_PRIVATE + secrets.randbelow(_DIGITS)) for _ in range(8))  # nobody can guess it
        self.ids = frozenset(controls)
        self._hidden = {token.content: f"{frame}{_digits(number)}" for number, token in controls.items()}
        self._shown = {hidden: content for content, hidden in self._hidden.items()}
        self.blank = f"{frame}{chr(_PRIVATE + 2 * _DIGITS)}"  # a further spelling that nobody can guess
        self._spelled = _any_of(self._hidden)
        ends = {text.strip()[at] for text in self._hidden for at in (0, -1)}
        self._edges = _any_of((*self._hidden, *(end for end in ends if not f"a{end}".isidentifier())))
        self._frames = re.compile(f"{frame}[{chr(_PRIVATE + _DIGITS)}-{chr(_PRIVATE + 2 * _DIGITS - 1)}]{{2}}")
        self._joined = "\0".join(self._hidden)
        self._longest = max(map(len, self._hidden), default=0)
        self._heads = frozenset(text[:end] for text in self._hidden for end in range(1, len(text)))
        self._tails = frozenset(text[start:] for text in self._hidden for start in range(1, len(text)))
        normalized = [token.content for token in controls.values() if token.normalized]
        self._normal = _any_of(map(self._normalize, normalized)) if normalized and fast.normalizer else None

    def hide(self, text: str) -> str:
        """Returns `text` with hidden spellings in place of markers."""
        return self._spelled.sub(lambda found: self._hidden[found[0]], text)

    def show(self, text: str) -> str:
        """Returns `text` with markers in place of hidden spellings."""
        return self._frames.sub(lambda found: self._shown[found[0]], text)

    def hidden(self, marker: str) -> str:
        """Returns a marker's hidden spelling; the marker itself if it is no control token."""
        return self._hidden.get(marker, marker)

    def replace(self, text: str, change: Callable[[str], str]) -> str:
        """Returns `text` with `change(marker)` in place of each marker."""
        return self._spelled.sub(lambda found: change(found[0]), text)

    def replace_edges(self, text: str, change: Callable[[str], str]) -> str:
        """Returns `text` with `change(part)` in place of each marker, and of each bracket that begins or ends one.

        Without these no marker of the usual form can arise from the text, whatever is made of it.
        """
        return self._edges.sub(lambda found: change(found[0]), text)

    def spelled_in(self, text: str) -> bool:
        """Whether `text` spells a marker, letter by letter or as the tokenizer normalises it."""
        if self._spelled.search(text) is not None:
            return True
        return self._normal is not None and self._normal.search(self._normalize(text)) is not None

    def may_arise_from(self, text: str) -> bool:
        """Whether `text` spells a marker, or may be a part of one together with the text around it."""
        if self.spelled_in(text):
            return True
        bare = text.strip()
        if not bare:
            return False
        if len(bare) < self._longest and bare in self._joined:
            return True
        reach = range(1, min(self._longest, len(bare)))
        return any(bare[-length:] in self._heads or bare[:length] in self._tails for length in reach)

    def _normalize(self, text: str) -> str:
        return text if self._fast.normalizer is None else self._fast.normalizer.normalize_str(text)

    @cached_property
    def copy(self) -> Tokenizer | None:
        """The tokenizer that knows control tokens by their hidden spellings only; None: it cannot be made."""
        said: dict[str, Any] = json.loads(self._fast.to_str())
        for token in said["added_tokens"]:
            token["content"] = self.hidden(token["content"])
        said.update(post_processor=None, truncation=None, padding=None)
        model = said["model"]
        model["vocab"] = self._renamed(model["vocab"])
        if model.get("unk_token") is not None:
            model["unk_token"] = self.hidden(model["unk_token"])
        if model.get("merges"):  # no text may be merged into a control token
            model["merges"] = [merge for merge in model["merges"] if self._hidden.keys().isdisjoint(_texts(merge))]
        try:
            made = Tokenizer.from_str(json.dumps(said, ensure_ascii=False))
        except Exception:  # tokenizers raises nothing narrower: this model cannot do without a marker's spelling
            return None
        made.encode_special_tokens = self._fast.encode_special_tokens
        same = all(made.token_to_id(new) == self._fast.token_to_id(old) for old, new in self._hidden.items())
        return made if same else None

    def _renamed(self, vocabulary: Any) -> Any:
        if isinstance(vocabulary, Mapping):
            return {self.hidden(text): number for text, number in vocabulary.items()}
        return [[self.hidden(text), score] for text, score in vocabulary]


def texts_of(value: object) -> Iterator[str]:
    """Yields every text inside a value of JSON, keys of objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts_of(key)
            yield from texts_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_of(each)


def changed(value: Any, change: Callable[[str], str]) -> Any:
    """Returns a value of JSON with `change(text)` in place of each text, keys of objects included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {changed(key, change): changed(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [changed(each, change) for each in value]
    return value


def _controls(token: AddedToken) -> bool:
    text = token.content
    if not text.strip():
        return False
    return bool(token.special or (not token.single_word and _WRAPPED.fullmatch(text) and any(map(str.isalnum, text))))


def _digits(number: int) -> str:
    high, low = divmod(number, _DIGITS)
    return chr(_PRIVATE + _DIGITS + high) + chr(_PRIVATE + _DIGITS + low)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Returns the pattern of the longest of `texts` at a place, as a tree: thousands take no longer than one."""
    tree: dict[str, Any] = {}
    for text in filter(None, texts):
        node = tree
        for character in text:
            node = node.setdefault(character, {})
        node[""] = {}
    return re.compile(_pattern(tree) if tree else r"(?!)")


def _pattern(tree: Mapping[str, Any]) -> str:
    """Returns the pattern of what a tree of characters holds; the key "" is the end of a text."""
    chain = ""
    while len(tree) == 1:
        ((character, tree),) = tree.items()
        chain += re.escape(character)
    if not tree:
        return chain
    branches = "|".join(re.escape(each) + _pattern(rest) for each, rest in tree.items() if each)
    return f"{chain}(?:{branches}){'?' if '' in tree else ''}"


def _texts(merge: Any) -> tuple[str, ...]:
    """Returns the two parts of a merge, and what they become."""
    parts = tuple(merge.split(" ") if isinstance(merge, str) else merge)
    return (*parts, "".join(parts))
