"""The bytes that each token of a tokenizer adds to a text, as grammars are matched with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from tokenizers import Tokenizer

SPACE = "\u2581"  # a blank in vocabularies of sentence pieces
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
BYTE_LEVEL, PIECES = "ByteLevel", frozenset({"ByteFallback", "Metaspace"})


def bytes_of(tokenizer: Tokenizer, controls: AbstractSet[int] = frozenset()) -> tuple[bytes, ...]:
    """Returns each token's bytes by id. Control tokens, and ids without a token, have none.

    A vocabulary whose tokens are neither byte-level nor pieces of sentences is taken as the tokenizer decodes it.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = {number: token.content for number, token in tokenizer.get_added_tokens_decoder().items()}
    kinds = frozenset(_kinds(tokenizer.decoder))
    found = [b""] * (max(vocabulary.values()) + 1)
    for text, number in vocabulary.items():
        if number in controls:
            continue
        if number in added:
            found[number] = added[number].encode()
        elif BYTE_LEVEL in kinds:
            found[number] = _of_letters(text)
        elif kinds & PIECES:
            byte = _BYTE.fullmatch(text)
            found[number] = bytes([int(byte[1], 16)]) if byte else text.replace(SPACE, " ").encode()
        else:
            said = tokenizer.decode([number], skip_special_tokens=False)
            found[number] = b"" if "\N{REPLACEMENT CHARACTER}" in said else said.encode()
    return tuple(found)


def _kinds(decoder: Any) -> Iterator[str]:
    """Yields the kind of a decoder, and those of the decoders in it."""
    if decoder is None:
        return
    waiting = [json.loads(decoder.__getstate__())]
    while waiting:
        part = waiting.pop()
        yield part["type"]
        waiting += part.get("decoders", ())


def _of_letters(text: str) -> bytes:
    """Returns the bytes of a token whose vocabulary writes each byte as a letter."""
    letters = _letters()
    if not all(letter in letters for letter in text):
        return text.encode()  # no byte's letter: such a token is written as it is
    return bytes(letters[letter] for letter in text)


@cache
def _letters() -> dict[str, int]:
    """Returns the byte of each letter: printable ones of Latin-1 stand for themselves, the others follow on U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(0x100)) - set(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}
