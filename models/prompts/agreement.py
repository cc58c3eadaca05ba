"""Whether the tokenizer that transformers makes of a directory splits text as the directory's `tokenizer.json` does.

A class that the configuration names may replace the file's normaliser or pre-tokenizer by its own. The model has seen
the file's tokens.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

TEXTS = (
    "Given 37, 82, 51, 92, what is the largest number? Let me think: 1234567 + 8.5 = 1234575.5.",
    "Wait, that isn't right. I'll check it again; they've said we'd see.\n\nSo the answer is \\boxed{42}.\n",
    "def add(a, b):\n    return a + b  # sum\n\tx = [1, 2]\r\n",
    " leading and trailing  blanks   here ",
    "naïve café, Ünïcödé ﬁne Å, 猫が好き, Привет мир, مرحبا, 🐈\u200d⬛ ½ ²",
    "THE QUICK Brown fox-jumps_over http://example.org/a?b=c&d=e (100%)!",
)


def difference(made: Tokenizer, file: Path) -> str | None:
    """Returns an example of a text that `made` splits otherwise than `file`; None: there is none."""
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    for text in TEXTS:
        ids, others = (each.encode(text, add_special_tokens=False).ids for each in (made, own))
        if ids != others:
            return f"{text[:20]!r}… is {len(ids)} tokens, not {len(others)}, or other ones"
    return None
