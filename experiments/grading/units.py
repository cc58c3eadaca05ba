"""Splits an answer into what is measured and its unit, so that `3 m` is no answer where `3 km` is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from experiments.grading.numbers import number

_NAMES = {
    "%": "percent percentage pct",
    "degree": "degrees deg ^\\circ ^{\\circ} \\degree",
    "$": "dollar dollars usd bucks",
    "€": "euro euros eur",
    "£": "pounds-sterling gbp",
    "¢": "cent cents",
    "¥": "yen jpy",
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre kms",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "mg": "milligram",
    "g": "gram gramme gm",
    "kg": "kilogram kilo kilogramme",
    "t": "ton tonne",
    "oz": "ounce",
    "lb": "pound lbs",
    "ml": "milliliter millilitre",
    "l": "liter litre",
    "gal": "gallon",
    "ms": "millisecond",
    "s": "sec second",
    "min": "minute mins",
    "h": "hr hour",
    "day": "days",
    "week": "wk weeks",
    "month": "mo",
    "year": "yr",
    "km/h": "kph kmh kmph",
    "mi/h": "mph",
    "j": "joule",
    "kj": "kilojoule",
    "n": "newton",
    "w": "watt",
    "kw": "kilowatt",
    "v": "volt",
    "k": "kelvin",
    "hz": "hertz",
    "pa": "pascal",
    "kpa": "kilopascal",
    "kwh": "kilowatt-hour",
    "rpm": "",
    "mol": "mole",
    "am": "a.m",
    "pm": "p.m",
}
_KNOWN = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_LETTERS = frozenset("mgtlshLJNWVK")  # units of one letter, in their case: n is no newton, k no kelvin
_COUNTED = frozenset({"men", "cup", "egg", "pie", "box", "bag", "cat", "dog", "car", "pen", "kid", "boy", "pts"})
_EMPTY = frozenset({"unit", "units", "square", "sq", "cubic", "of", "the", "total", "each", "a", "an", "only"})
_SCALES = frozenset(
    f"{scale}{plural}"
    for scale in ("hundred", "thousand", "million", "billion", "trillion", "dozen")
    for plural in ("", "s")
)
_NOT = _SCALES | frozenset(  # words after a number that change it, or begin another
    word
    for words in (
        "or and not nor to than minus plus times over by less more most least if mod modulo base versus vs",
        "squared cubed half third quarter tenth hundredth thousandth halves thirds quarters tenths hundredths",
        "thousandths sqrt root factorial",
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim gcd lcm det arg abs",
    )
    for word in words.split()
)
_TEMPERATURES = {"degree c": "°c", "degree f": "°f", "degree celsius": "°c", "degree fahrenheit": "°f"}
_WORD = r"[A-Za-z][A-Za-z.']*(?:\^(?:\{[-0-9]+\}|-?[0-9]))?"
_SIGN = r"%|€|£|¥|¢|\$|\^\\circ|\^\{\s*\\circ\s*\}|\\degree"
_MEASURED = re.compile(
    rf"(?P<value>.*?(?:[0-9)}}\]]|\\pi))(?P<gap>\s*)"
    rf"(?P<unit>(?:{_SIGN})?\s*(?:{_WORD}(?:(?:\s*/\s*|\s*\\cdot\s*|[-*\s]\s*){_WORD})*)?)"
)
_PRICED = re.compile(r"(?P<sign>[-+]?)\s*(?P<unit>[$€£¥])\s*(?P<value>[0-9.\\].*)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An answer without its unit."""

    value: str
    unit: str | None = None  # in one spelling; None: it has none, or one that says nothing
    letter: bool = False  # whether the unit is one letter, or a product of letters, that may be variables


def measured(text: str) -> Quantity:
    """Returns a tidied answer's value and unit; an answer whose end is no unit is all value."""
    if (priced := _PRICED.fullmatch(text)) is not None:
        behind = measured(priced["value"])
        if behind.unit is None:
            return Quantity(priced["sign"] + behind.value, priced["unit"])
        return Quantity(priced["sign"] + behind.value, f"{priced['unit']} {behind.unit}".replace("$ $", "$"))
    found = _MEASURED.fullmatch(text)
    if found is None or not found["unit"].strip():
        return Quantity(text)
    unit, value = found["unit"].strip(), found["value"].strip()
    bare = re.sub(rf"{_SIGN}|\\cdot", " ", unit)
    names = [re.sub(r"\^.*", "", word).rstrip(".") for word in re.findall(_WORD, bare)]
    signed = re.search(_SIGN, unit) is not None
    if not _is_unit(names, apart=bool(found["gap"]), signed=signed, joined=re.sub(_WORD, "", bare)):
        return Quantity(text)
    letter = (
        bool(names)
        and not signed
        and all(len(name) == 1 for name in names)
        and (not found["gap"] or number(value) is None)  # 3 m is a length, 3m and 2\pi m need not be
    )
    return Quantity(value, _spelt(unit), letter)


def is_measure(name: str) -> bool:
    """Whether a word, or words around `/`, is a unit of measurement or a power of ten that belongs to a number."""
    return all(_known(part) or part.lower() in _SCALES for part in name.split("/"))


def _is_unit(names: list[str], *, apart: bool, signed: bool, joined: str) -> bool:
    """Whether names behind a value are its unit. `apart`: behind a gap; `joined`: what stands between the names."""
    lower = [name.lower() for name in names]
    if any(name in _NOT for name in lower) or lower == ["a"]:
        return False
    if "-" in joined and any(len(name) == 1 for name in names):
        return False  # a difference
    degrees = signed or lower[:1] in (["degree"], ["degrees"])
    return all(
        _known(name)
        or name.lower() in _EMPTY
        or name.lower() == "per"
        or (degrees and name.lower() in ("c", "f"))
        or (apart and (len(name) > 3 or name.lower() in _COUNTED))
        for name in names
    )


def _known(name: str) -> bool:
    if len(name) == 1:
        return name in _LETTERS
    return name.lower() in _KNOWN or name.lower().removesuffix("s") in _KNOWN


def _spelt(unit: str) -> str | None:
    """Returns a unit in one spelling: `kilometers per hour` and `km/h` are the same."""
    unit = re.sub(r"\^\{\s*(-?[0-9]+)\s*\}", r"^\1", re.sub(rf"({_SIGN})", r"\1 ", unit))
    unit = re.sub(r"\bper\b|\ba(?=\s+(?:hour|day|week|month|year|minute|second)\b)", "/", unit)
    unit = re.sub(r"\b(square|sq|cubic)\.?\s+(?!units?\b)([A-Za-z]+)", _powered, unit, flags=re.IGNORECASE)
    parts: list[str] = []
    for part in re.findall(r"/|[^\s/*]+", re.sub(r"\\cdot(?![A-Za-z])", " ", unit)):
        name, _, power = part.partition("^") if part[0] != "^" else (part, "", "")
        said, name = name.rstrip("."), name.rstrip(".").lower()
        other = re.sub(r"(?<=[a-z]{2}[^s])s$", "", name) if len(name) > 3 else said  # the case of mW and MW tells
        known = _KNOWN.get(name) or _KNOWN.get(name.removesuffix("s")) or other
        if name not in _EMPTY and (name != "in" or not parts):  # an inch stands alone
            parts.append(f"{known}^{power}" if power else known)
    whole = re.sub(r" ?/ ?", "/", " ".join(parts)).strip("/ ")
    return _TEMPERATURES.get(whole, whole) or None


def _powered(found: re.Match[str]) -> str:
    return f"{found[2]}^{3 if found[1].lower() == 'cubic' else 2}"
