"""Texts in pieces."""

from __future__ import annotations

from collections.abc import Collection


def pieces_of(text: str, places: Collection[int]) -> list[str]:
    """A text cut at places, each counted from its beginning and over its end again."""
    cuts = sorted(place % (len(text) + 1) for place in places)
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
