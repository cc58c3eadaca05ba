"""Splits an answer into what is measured and its unit, so that `3 m` is no answer where `3 km` is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    "mol": "mole",
    "am": "a.m",
    "pm": "p.m",
}
_KNOWN = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_EMPTY = frozenset({"unit", "units", "square", "cubic", "of", "the", "total", "each", "a", "an", "only"})
_NOT = frozenset(  # words after a number that change it, or begin another
    word
    for words in (
        "or and not nor to than minus plus times over by less more most least if mod modulo base versus vs",
        "squared cubed half third quarter tenth hundredth thousandth halves thirds quarters tenths hundredths",
        "thousandths sqrt root hundred thousand million billion trillion dozen hundreds thousands millions",
        "billions dozens factorial",
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
    letter: bool = False  # whether the unit is a letter right behind the value, which may be a variable


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
    unit = found["unit"].strip()
    words = re.findall(_WORD, unit)
    if not _is_unit(words, apart=bool(found["gap"]), rest=re.sub(_WORD, "", unit).strip()):
        return Quantity(text)
    letter = len(unit) == 1 and unit.isalpha() and not found["gap"]
    return Quantity(found["value"].strip(), _spelt(unit), letter)


def _is_unit(words: list[str], *, apart: bool, rest: str) -> bool:
    names = [re.sub(r"\^.*", "", word).rstrip(".").lower() for word in words]
    if any(name in _NOT for name in names):
        return False
    if len(names) != 1:  # none but a sign, or a phrase
        return apart or bool(rest) or all(name in _KNOWN for name in names)
    return _known(names[0]) or bool(rest) or (apart and len(names[0]) > 2)


def _known(name: str) -> bool:
    return name in _KNOWN or name.removesuffix("s") in _KNOWN


def _spelt(unit: str) -> str | None:
    """Returns a unit in one spelling: `kilometers per hour` and `km/h` are the same."""
    unit = re.sub(r"\^\{\s*(-?[0-9]+)\s*\}", r"^\1", re.sub(rf"({_SIGN})", r"\1 ", unit))
    unit = re.sub(r"\bper\b|\ba(?=\s+(?:hour|day|week|month|year|minute|second)\b)", "/", unit)
    unit = re.sub(r"\b(square|sq|cubic)\.?\s+(?!units?\b)([A-Za-z]+)", _powered, unit, flags=re.IGNORECASE)
    parts: list[str] = []
    for part in re.findall(r"/|[^\s/*]+", re.sub(r"\\cdot(?![A-Za-z])", " ", unit)):
        name, _, power = part.partition("^") if part[0] != "^" else (part, "", "")
        name = name.rstrip(".").lower()
        known = _KNOWN.get(name) or _KNOWN.get(name.removesuffix("s")) or re.sub(r"(?<=[a-z]{2}[^s])s$", "", name)
        if name not in _EMPTY and (name != "in" or not parts):  # an inch stands alone
            parts.append(f"{known}^{power}" if power else known)
    said = re.sub(r" ?/ ?", "/", " ".join(parts)).strip("/ ")
    return _TEMPERATURES.get(said, said) or None


def _powered(found: re.Match[str]) -> str:
    return f"{found[2]}^{3 if found[1].lower() == 'cubic' else 2}"
