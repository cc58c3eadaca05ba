"""Files of ours: read strictly, with the place in the error, and the files that ship are written as they were."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.calibration.traces import read_records, records_of
from models.files.envelope import Envelope, Head, StrictJson, sha256_of
from models.profile.profile import FILE_NAME, checksum, read_profile, write_profile
from models.reasoner import bundled_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    share: float

    def __post_init__(self) -> None:
        if self.share < 0.0:
            raise ValueError(f"share is {self.share}, must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner
    table: tuple[tuple[float, ...], ...]
    pair: tuple[int, int]
    count: int | None
    sure: bool
    more: Mapping[str, Any]


class OuterError(ValueError):
    pass


HEAD = Head(format="laser-test", version=3)
ENVELOPE = Envelope(head=HEAD, key="outer", into=Outer, made_by="laser test", error=OuterError)
OUTER = Outer(inner=Inner(share=0.5), table=((1.0, 2.5), ()), pair=(1, 2), count=None, sure=True, more={"a": [1, {}]})


def text(**changed: object) -> str:
    return json.dumps({**asdict(OUTER), **changed})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    ENVELOPE.write(tmp_path / "file", OUTER)
    assert ENVELOPE.read(tmp_path / "file") == OUTER
    said = json.loads((tmp_path / "file").read_text())
    assert list(said) == ["format", "version", "sha256", "outer"]
    assert said["sha256"] == sha256_of(said["outer"])


def test_whole_numbers_are_read_as_floats() -> None:
    found = StrictJson(Outer, "outer")(text(table=[[1, 2]]))
    assert [type(value) for value in found.table[0]] == [float, float]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"table": [[1.0], ["2"]]}, "outer.table[1][0] is '2', must be of type float"),
        ({"table": [[True]]}, "outer.table[0][0] is True, must be of type float"),
        ({"table": [3]}, "outer.table[0] is 3, must be a list of the right length"),
        ({"pair": [1]}, "outer.pair is [1], must be a list of the right length"),
        ({"pair": [1, 2, 3]}, "outer.pair is [1, 2, 3], must be a list of the right length"),
        ({"count": 2.0}, "outer.count is 2.0, must be of type int"),
        ({"count": True}, "outer.count is True, must be of type int"),
        ({"sure": 1}, "outer.sure is 1, must be of type bool"),
        ({"more": []}, "outer.more is [], must be of type dict"),
        ({"inner": {"share": -1.0}}, "share is -1.0, must be at least 0"),
        ({"inner": {}}, "outer.inner is , must have share"),
        ({"inner": {"share": 1.0, "z": 1}}, "outer.inner is share, z, must not have z"),
        ({"other": 1}, "outer is count, inner, more, other, pair, sure, table, must not have other"),
        ({"inner": 3}, "outer.inner is 3: Input should be an object"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(changed: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=r"^outer|^share") as refused:
        StrictJson(Outer, "outer")(text(**changed))
    assert str(refused.value) == told


def test_a_missing_key_and_what_is_no_json_are_told() -> None:
    said = asdict(OUTER)
    del said["pair"]
    with pytest.raises(ValueError, match=r"^outer is count, inner, more, sure, table, must have pair$"):
        StrictJson(Outer, "outer")(json.dumps(said))
    with pytest.raises(ValueError, match=r"^line is not JSON: "):
        StrictJson(Outer, "line")("nonsense")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], "format is 'list', must be 'laser-test'"),
        ({"format": "other"}, "format is 'other', must be 'laser-test'"),
        ({"format": "laser-test", "version": 2}, "version is 2, must be 3; run `laser test` again"),
        ({"format": "laser-test", "version": 3, "sha256": "ab"}, "it was damaged or edited, its checksum is of"),
        ({"format": "laser-test", "version": 3, "sha256": sha256_of(None)}, "outer is None: Input should be an object"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, said: object, told: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(OuterError) as refused:
        ENVELOPE.read(file)
    assert str(refused.value).startswith(f"{file}: {told}")


def test_the_profile_that_ships_is_read_and_written_byte_for_byte(tmp_path: Path) -> None:
    ours = bundled_model() / FILE_NAME
    profile = read_profile(ours)
    write_profile(tmp_path / FILE_NAME, profile)
    assert (tmp_path / FILE_NAME).read_bytes() == ours.read_bytes()
    assert checksum(profile) == json.loads(ours.read_bytes())["sha256"]


@pytest.mark.slow
def test_the_records_that_ship_are_read_to_the_last_token() -> None:
    packed = records_of(bundled_model() / FILE_NAME)
    known = read_records(packed)
    header, *lines = [json.loads(line) for line in lzma.decompress(packed.read_bytes()).splitlines()]
    assert known.header == header
    keys = [line.pop("question") for line in lines if "trace" in line]
    assert len(set(keys)) == len(known.traces)
    found = [{"trace": asdict(one)} for one in known.traces.values()]
    found += [{"closing": asdict(one)} for one in known.closings.values()]
    found += [{"choice": asdict(one)} for one in known.choices]
    assert sorted(map(sha256_of, found)) == sorted(map(sha256_of, lines))
