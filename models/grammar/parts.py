"""The shortest texts of the parts of a JSON schema, by the schema alone.

A search writes them at once where it would else find them token by token. They are guesses, each of which a matcher
checks: keywords that are not looked at here only make them useless.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from models.grammar.extent import BESIDE
from models.grammar.merging import Joins, Schema
from models.grammar.schemas import kinds_of, listed, mapping, schemas

Least: TypeAlias = tuple[int, bytes]  # tokens, about, and text

PASSES = 8  # over the parts, until none becomes shorter
DEEP = 12  # parts that were joined of others, in one another
ANY = b"0"  # the shortest value of all
UNKNOWN = 36  # tokens of a value that is not found
MOST_ITEMS = 2_048  # of a list
OF_PARTS = frozenset(
    {"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties", "items",
     "prefixItems", "minItems", "maxItems"}
)  # fmt: skip  # keywords of objects and lists
FLAT = frozenset({"string", "integer", "number"})
LITERALS = (("boolean", True), ("boolean", False), ("null", None))


class SchemaParts:
    """The shortest values and members of a schema's parts."""

    def __init__(
        self,
        schema: Any,
        count: Callable[[bytes], int],
        leaf: Callable[[Schema], bytes | None],
        separators: tuple[str, str] = (",", ":"),
    ) -> None:
        """`count`: the tokens of a text. `leaf`: the shortest text or number of a schema; None: it is not found.

        `separators`: between the items of lists and objects, and behind keys.
        """
        self._root = schema
        self.joins = Joins(schema)
        self._count = count
        self._leaf = leaf
        self.comma, self._colon = (each.encode() for each in separators)
        self._known: dict[int, Least | None] = {}  # by a part's id
        self._parts = [part for _, part in schemas(schema)]  # and those that are joined of them, as they are met
        self.computed = 0  # values of parts without references and unions
        self._leaves: dict[str, Least | None] = {}  # by a schema, as JSON
        self._values: dict[bytes, int] = {ANY: 1}
        self._objects: dict[tuple[bytes, ...], None] = {}
        self._spare: dict[bytes, None] = {}
        self._formed: dict[bytes, int] = {}
        self._most = 1
        self._fill()

    @property
    def values(self) -> list[bytes]:
        """Whole values, the shortest first."""
        return sorted(self._values, key=lambda text: (self._values[text], len(text), text))

    @property
    def objects(self) -> list[tuple[bytes, ...]]:
        """The members that objects must have, each with its value, in order."""
        return list(self._objects)

    @property
    def spare(self) -> list[bytes]:
        """Members that objects may have, each with its value, the shortest first."""
        return sorted(self._spare, key=lambda text: (len(text), text))

    @property
    def texts(self) -> list[bytes]:
        """Texts in quotation marks that must have some form."""
        return [text for text in self._formed if text.startswith(b'"')]

    @property
    def step(self) -> int:
        """The greatest number of which only multiples are allowed; 0: there is none."""
        return max((_whole(part.get("multipleOf")) for _, part in schemas(self._root)), default=0)

    @property
    def rise(self) -> int:
        """The most tokens that opening one value may oblige to; a text that is open may take one for each character."""
        return self._most + max((len(text) - size for text, size in self._formed.items()), default=0)

    def _fill(self) -> None:
        for _ in range(PASSES):
            before, self._most = dict(self._known), 1
            for part in self._parts[::-1]:  # what is in a part comes before it
                self._known[id(part)] = self._least(part, DEEP)
            if self._known == before:
                break

    def _of(self, schema: Any, depth: int) -> Least | None:
        """Returns the shortest value of a part; None: none is known yet."""
        if schema is True:
            return 1, ANY
        if not isinstance(schema, dict) or depth == 0:
            return None
        if id(schema) not in self._known:
            self._known[id(schema)] = None  # where it is in itself
            self._parts.append(schema)
            self._known[id(schema)] = self._least(schema, depth - 1)
        return self._known[id(schema)]

    def _least(self, schema: Schema, depth: int) -> Least | None:
        return _shortest(self._least_alone(each, depth) for each in self.joins.alternatives(schema))

    def _least_alone(self, schema: Schema, depth: int) -> Least | None:
        """Returns the shortest value of a part without references and unions."""
        self.computed += 1
        values = listed(schema)
        if values is not None:
            return self._noted(self._listed(values))
        kinds = kinds_of(schema)
        if not kinds and "type" in schema:  # nothing is of both kinds
            return None
        found = list[Least | None]()
        if "object" in kinds or (not kinds and schema.keys() & {"properties", "required"}):
            found.append(self._noted(self._object(schema, depth)))
        if "array" in kinds or (not kinds and schema.keys() & {"items", "prefixItems"}):
            found.append(self._noted(self._array(schema, depth)))
        found += [self._noted(self._listed([value])) for kind, value in LITERALS if kind in kinds]
        if kinds & FLAT or not kinds:
            found.append(self._noted(self._flat(schema)))
        return _shortest(found)

    def _noted(self, least: Least | None) -> Least | None:
        if least is not None:
            self._values[least[1]] = least[0]
            self._most = max(self._most, least[0])
        return least

    def _listed(self, values: Iterable[Any]) -> Least | None:
        separators = (self.comma.decode(), self._colon.decode())
        texts = (json.dumps(each, ensure_ascii=False, separators=separators).encode() for each in values)
        return _shortest((self._count(text), text) for text in texts)

    def _flat(self, schema: Schema) -> Least | None:
        """Returns the shortest text or number of a schema."""
        kinds, bound = kinds_of(schema), sorted(schema.keys() - BESIDE - OF_PARTS)
        if not bound and kinds != {"string"}:
            return 1, ANY
        asked = {name: schema[name] for name in bound} | ({"type": sorted(kinds & FLAT)} if kinds else {})
        key = json.dumps(asked, sort_keys=True)
        if key not in self._leaves:
            text = self._leaf(asked) if bound else b'""'
            self._leaves[key] = None if text is None else (self._count(text), text)
            if text is not None and bound:
                self._formed[text] = self._count(text)
        return self._leaves[key]

    def _object(self, schema: Schema, depth: int) -> Least | None:
        """Returns the shortest object of a schema, and notes its members."""
        properties = mapping(schema.get("properties"))
        required = _names(schema.get("required"))
        names = [name for name in properties if name in required]
        names += [name for name in required if name not in properties]
        members = [self._member(name, self._of(_of_name(schema, name), depth)) for name in names]
        spare = [self._member(name, self._of(properties[name], depth)) for name in properties if name not in required]
        spare += [self._member(name, self._of(value, depth)) for name, value in self._beyond(schema)]
        if not members and _whole(schema.get("minProperties")) > 0:
            members = [_shortest(spare)]
        self._spare |= dict.fromkeys(each[1] for each in spare if each is not None)
        known = [each for each in members if each is not None]
        if known:
            self._objects[tuple(text for _, text in known)] = None
        return self._joined(b"{", members, b"}")

    def _member(self, name: str, value: Least | None) -> Least | None:
        if value is None:
            return None
        key = json.dumps(name, ensure_ascii=False).encode() + self._colon
        return self._count(key) + value[0], key + value[1]

    def _beyond(self, schema: Schema) -> Iterator[tuple[str, Any]]:
        """Yields a key and its value's schema for each way in which an object may have keys that are not listed."""
        for pattern, value in mapping(schema.get("patternProperties")).items():
            key = self._flat({"type": "string", "pattern": pattern})
            if key is not None:
                yield json.loads(key[1]), value
        further = schema.get("additionalProperties", True)
        if further is not False:
            yield "", further

    def _array(self, schema: Schema, depth: int) -> Least | None:
        first, least = schema.get("prefixItems"), min(_whole(schema.get("minItems")), MOST_ITEMS)
        items = [self._of(each, depth) for each in (first if isinstance(first, list) else [])[:least]]
        if least > len(items):
            items += [self._of(schema.get("items", True), depth)] * (least - len(items))
        return self._joined(b"[", items, b"]")

    def _joined(self, opening: bytes, parts: Sequence[Least | None], closing: bytes) -> Least | None:
        known = [part for part in parts if part is not None]
        size = 2 + sum(size for size, _ in known) + max(0, len(parts) - 1)
        if len(known) < len(parts):
            self._most = max(self._most, size + UNKNOWN * (len(parts) - len(known)))
            return None
        return size, opening + self.comma.join(text for _, text in known) + closing


def embedded(text: str) -> Iterator[tuple[Any, tuple[str, str]]]:
    """Yields the JSON schemas in a grammar of Lark's syntax, each with what stands between its values' parts."""
    for found in re.finditer(r"%json\s+", text):
        try:
            schema, _ = json.JSONDecoder().raw_decode(text, found.end())
        except ValueError:  # it stands within a text
            continue
        options = mapping(schema.pop("x-guidance", None)) if isinstance(schema, dict) else {}
        yield schema, (str(options.get("item_separator", ",")), str(options.get("key_separator", ":")))


def _of_name(schema: Schema, name: str) -> Any:
    """Returns the schema of the values that a key has in an object."""
    properties = mapping(schema.get("properties"))
    if name in properties:
        return properties[name]
    for pattern, value in mapping(schema.get("patternProperties")).items():
        if _hits(pattern, name):
            return value
    return schema.get("additionalProperties", True)


def _hits(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # it is no pattern of Python's
        return False


def _names(value: Any) -> list[str]:
    return [name for name in dict.fromkeys(value) if isinstance(name, str)] if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _shortest(sizes: Iterable[Least | None]) -> Least | None:
    return min((each for each in sizes if each is not None), default=None)
