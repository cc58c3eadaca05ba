"""Compares answers as numbers, units, choices and texts; says where only mathematics can tell."""

from __future__ import annotations

import re
from fractions import Fraction

from experiments.grading.numbers import NUMBERS, number, plain, rounds_to
from experiments.grading.tidy import LONGEST, tidied
from experiments.grading.units import Quantity, is_measure, measured

_CHOICE = re.compile(r"\(?([A-J])\)?")  # what a question's answer is, if it is a choice
_CHOSEN = re.compile(
    r"(?:(?:the )?(?:correct )?(?:final )?(?:answer|option|choice)(?: is)?:? ?)?(?:\(([A-Ja-j])\)|([A-Ja-j])\)?)"
    r"(?:[.:)]? ?(?P<rest>.*))?",
    re.IGNORECASE,
)
_NAMED = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?)\s*=\s*([^=]+)")
_FUNCTIONS = frozenset({"sqrt", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"})  # names of more than 3 letters
_BASED = re.compile(r"([0-9A-F]+)_\{?([0-9]+)\}?")


def compared(answer: str, gold: str) -> bool | None:
    """Returns whether an answer is `gold`, as numbers or texts; None: both are mathematics that must be understood."""
    if not answer.strip() or len(answer) > LONGEST or len(gold) > LONGEST:
        return bool(answer.strip()) and _word(answer) == _word(gold)
    if number(gold) is None and _word(answer) == _word(gold):
        return True
    a, g = tidied(answer), tidied(gold)
    if (choice := _CHOICE.fullmatch(g)) is not None:
        return _chosen(a) == choice[1]
    if _word(a) == _word(g):
        return True
    a, g = _unnamed(a, g)
    return _measures(measured(a), measured(g))


def mathematics(answer: str, gold: str) -> tuple[str, str]:
    """Returns what math-verify is asked of two answers that `compared` cannot tell apart: their values."""
    a, g = _unnamed(tidied(answer), tidied(gold))
    return _cased(measured(a).value, measured(g).value)


def answers(reply: str, gold: str) -> str | None:
    """Returns the answer of a reply: its last boxes or, if there are none and `gold` has a number, the last number.

    Several boxes side by side are one list if `gold` is a list. None: the reply has no answer.
    """
    boxed = last_boxed(reply)
    if boxed is not None:
        return _side_by_side(reply) or boxed if "," in gold else boxed
    value = measured(tidied(gold))
    if number(value.value) is None:
        return None
    found = list(NUMBERS.finditer(plain(reply)))
    if not found:
        return None
    if value.unit is None or value.unit in ("$", "%"):
        return found[-1][0]
    behind = re.match(r"\s*(?:°|[A-Za-z]+(?:/[A-Za-z]+)?)?", plain(reply)[found[-1].end() :])
    word = behind[0].strip() if behind else ""
    return f"{found[-1][0]} {word}" if word == "°" or (word != "in" and is_measure(word)) else found[-1][0]


def last_boxed(text: str) -> str | None:
    """Returns the content of the last complete `\\boxed{…}` that is not empty, with nested braces.

    An empty text: all boxes are empty. None: there is no box.
    """
    opened: list[int | None] = []  # where the content of each open brace begins; None: it is no box's
    seen, best, content = False, -1, ""
    for found in re.finditer(r"(\\boxed\s*)?\{|\}", text):
        if found[0] != "}":
            opened.append(found.end() if found[1] else None)
        elif opened and (start := opened.pop()) is not None:
            seen = True
            if start > best and (inside := text[start : found.start()].strip()):
                best, content = start, inside
    return content if seen else None


def last_answer(reply: str) -> str:
    """Returns what a reply answers, without knowing what is asked for: its last box, else its last number, else all."""
    boxed = last_boxed(reply)
    if boxed:
        return boxed
    numbers = NUMBERS.findall(plain(reply))
    return numbers[-1] if numbers else reply.strip()


def _side_by_side(reply: str) -> str | None:
    """Returns the last boxes of a reply as a list, if nothing but `,` and `and` stands between them; None: one box."""
    boxes = re.findall(r"\\boxed\s*\{([^{}]+)\}((?:[\s,;$]|\\[()]|and|or)*)", reply)
    run = re.search(r"(?:\\boxed\s*\{[^{}]+\}(?:[\s,;$]|\\[()]|and|or)*){2,}[.\s]*$", reply[-4 * LONGEST :])
    if run is None:
        return None
    many = len(re.findall(r"\\boxed", run[0]))
    return ", ".join(inside for inside, _ in boxes[-many:])


def _word(text: str) -> str:
    """Folds white space, and the case of what is no mathematics: R is not r."""
    text = " ".join(text.split()).rstrip(".")
    if re.search(r"[\\0-9^_=+*/()-]", text) is None:
        return text.casefold()
    return re.sub(r"(?<![\\A-Za-z])[A-Za-z]{4,}", lambda found: found[0].lower(), text)


def _cased(a: str, g: str) -> tuple[str, str]:
    """Renames capitals that stand beside their small letters: math-verify takes R for r."""
    token = r"\\[A-Za-z]+|[A-Za-z]"
    tokens = set(re.findall(token, f"{a} {g}"))
    used = {one.lower() for one in tokens}
    free = (letter for letter in "uvwyzpqrstkmnabcgh" if letter not in used)
    names = {one: next(free, one) for one in sorted(tokens) if one != one.lower() and one.lower() in tokens}

    def renamed(text: str) -> str:
        return re.sub(token, lambda found: names.get(found[0], found[0]), text)

    return renamed(a), renamed(g)


def _chosen(text: str) -> str | None:
    found = _CHOSEN.fullmatch(text)
    if found is None:
        return None
    letter, rest = found[1] or found[2], found["rest"] or ""
    if rest and (text[found.end(2) :][:1] not in (".", ":", ")") and not found[1]):
        return None  # a word, or a text that begins with a letter
    if re.search(r"(?<![A-Za-z])[A-J](?![A-Za-z])|^(?:or|and)\b", rest):
        return None  # more than one choice
    return letter.upper()


def _unnamed(a: str, g: str) -> tuple[str, str]:
    """Removes `x =` where only one of two answers has it, or both have the same."""
    mine, theirs = _NAMED.fullmatch(a), _NAMED.fullmatch(g)
    if mine is not None and theirs is not None:
        return (mine[2], theirs[2]) if mine[1] == theirs[1] else (a, g)
    if mine is not None and "=" not in g:
        return mine[2], g
    if theirs is not None and "=" not in a:
        return a, theirs[2]
    return a, g


def _measures(a: Quantity, g: Quantity) -> bool | None:
    if a.unit is not None and g.unit is not None and a.unit != g.unit:
        return False
    if a.letter != g.letter and (a.unit is None or g.unit is None):
        return False  # `3m` may be three times m
    mine, theirs = number(a.value), number(g.value)
    if mine is not None and theirs is not None:
        return _equal(a, mine, g, theirs)
    if theirs is not None and _is_list(a.value):
        return False
    if _close(a.value) == _close(g.value):
        return True
    return None if _is_mathematics(a.value, g.value) else False


def _equal(a: Quantity, mine: Fraction, g: Quantity, theirs: Fraction) -> bool:
    """Whether two numbers are equal. Beside a percentage a bare number is a share, from 1 on a percentage too."""
    if _percent(a) != _percent(g):
        share, percent = (theirs, mine) if _percent(a) else (mine, theirs)
        return share == percent / 100 or (share == percent and not 0 < abs(share) < 1)  # 0.5% is not 0.5
    if mine == theirs:
        return True
    return rounds_to(a.value, theirs) or rounds_to(g.value, mine)


def _percent(one: Quantity) -> bool:
    return one.unit == "%" or "%" in one.value


def _close(text: str) -> str:
    """Removes the white space that no number or word needs."""
    return re.sub(r"(?<=[^0-9A-Za-z])\s+|\s+(?=[^0-9A-Za-z])", "", text)


def _is_list(text: str) -> bool:
    return re.search(r",(?![0-9]{3}(?![0-9]))", text) is not None


def _is_mathematics(a: str, g: str) -> bool:
    """Whether math-verify can tell two values apart rightly: no words, bases, times, bare signs, torn parts."""
    for text in (a, g):
        letters = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", " ", text))
        if any(len(word) > 3 and word.lower() not in _FUNCTIONS for word in letters):
            return False
        if text.count("{") != text.count("}") or (len(text) > 1 and re.fullmatch(r"[A-Za-z\s.,]*", text)):
            return False
        if re.search(r"^[0-9]{1,2}:[0-9]{2}$|[0-9]\s+[0-9]|^[-+*/\s]+$", text):
            return False
    if _bracket(a) and _bracket(g) and _bracket(a) != _bracket(g):
        return False  # a pair is no set, an open interval is not closed
    mine, theirs = _BASED.fullmatch(a), _BASED.fullmatch(g)
    return mine is None or theirs is None  # equal ones are equal texts


def _bracket(text: str) -> str | None:
    """Returns the brackets around a list; None: the text is no list in brackets."""
    found = re.fullmatch(r"(\\\{|[(\[])([^()\[\]]*)(\\\}|[)\]])", text)
    return f"{found[1]}{found[3]}" if found is not None and "," in found[2] else None
