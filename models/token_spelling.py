"""What single tokens are spelled with: the bytes of each, which need not be whole characters."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

SPACE = "▁"  # how SentencePiece's vocabularies write a space


class TokenSpelling:
    """The bytes of a vocabulary's tokens, as they follow one another in a text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def text(self, token: int) -> str:
        """The text of a token; bytes that are no whole character are U+FFFD."""
        return self.bytes(token).decode("utf-8", "replace")

    def bytes(self, token: int) -> bytes:
        """The bytes of a token; none if the vocabulary has no such token."""
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        if token in self._added:
            return piece.encode()
        if self._byte_level:
            return b"".join(self._bytes.get(character, character.encode()) for character in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        return piece.replace(SPACE, " ").encode()

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._tokenizer.get_added_tokens_decoder())

    @cached_property
    def _byte_level(self) -> bool:
        """Whether each byte is one character of a token: the tokenizer's decoder says so."""
        decoder: Any = json.loads(self._tokenizer.to_str())["decoder"] or {}
        return "ByteLevel" in {decoder.get("type"), *(each.get("type") for each in decoder.get("decoders", ()))}

    @cached_property
    def _bytes(self) -> dict[str, bytes]:
        from transformers.convert_slow_tokenizer import bytes_to_unicode  # heavy; it is there once a tokenizer is

        return {character: bytes([byte]) for byte, character in bytes_to_unicode().items()}
