"""Text that a tokenizer can read."""

from __future__ import annotations


def encodable(text: object) -> object:
    """The text itself. JSON can smuggle in halves of a character, which no tokenizer reads: those raise ValueError."""
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"has half a character at position {error.start}, must be valid Unicode") from error
    return text
