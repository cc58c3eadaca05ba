"""What can befall a file that is read: by what a user writes, by other programs, by a crash."""

from __future__ import annotations

import gzip

_LAUGHS = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8))

YAML_DAMAGES: dict[str, bytes] = {
    "brackets": b"[" * 5_000,
    "braces": b"{" * 5_000,
    "brackets-closed": b"[" * 5_000 + b"]" * 5_000,
    "dashes": b"- " * 3_000,
    "questions": b"? " * 3_000,
    "bool": b"name: !!bool foo",
    "root-bool": b"!!bool foo",
    "int": b"count: !!int ''",
    "timestamp": b"name: !!timestamp x",
    "float": b"share: !!float ''",
    "binary": b"name: !!binary ====x",
    "python": b"name: !!python/object/apply:os.getcwd []",
    "own-tag": b"name: !secret a",
    "recursive-list": b"&a [*a]",
    "recursive-map": b"&a {names: *a}",
    "recursive-key": b"? &a [*a]\n: 1",
    "laughs": f"a: &a [x, x, x, x, x, x, x, x, x]\n{_LAUGHS}names: *i\n".encode(),
    "laughs-as-key": f"a: &a [x, x, x, x, x, x, x, x, x]\n{_LAUGHS}? *i\n: 1\n".encode(),
    "no-anchor": b"name: *none",
    "anchor-twice": b"a: &a 1\nb: &a 2\nc",
    "tab": b"\tname: a",
    "tab-inside": b"name:\n\t- a",
    "nul": b"name: \x00",
    "control": b"name: \x07",
    "utf-16": "name: a".encode("utf-16"),
    "latin-1": "name: Käse".encode("latin-1"),
    "half-gzip": gzip.compress(b"name: a\n" * 99, mtime=0)[:-9],
    "two-documents": b"name: a\n---\nname: b\n",
    "directive": b"%YAML 3.0\n---\nname: a\n",
    "unclosed-quote": b"name: 'a",
    "unclosed-list": b"names: [a, b",
    "colon-twice": b"name: a: b",
    "number": b"5",
    "list": b"- a\n- b\n",
    "text": b"hello",
    "list-as-key": b"? [a, b]\n: c\n",
    "json-torn": b'{"name": "a", "cou',
    "twice": b"name: a\nname: b\n",
    "merge": b"<<: {name: a}\nname: b\n",
}
"""Files that are no settings of any kind, by what is wrong with them."""
