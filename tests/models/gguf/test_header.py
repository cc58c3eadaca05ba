from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.gguf.errors import GGUFError
from models.gguf.header import TYPES, read_header
from tests.support.gguf_files import F32, MODEL, header, text

GOOD = header({**MODEL, "list": ["a", "b"], "numbers": [1, -2, 3]}, [("w", (4, 2), F32, 0), ("v", (8,), F32, 32)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_what_a_file_says_is_read_without_its_weights(file: Path) -> None:
    file.write_bytes(GOOD + bytes(64))
    found = read_header(file)
    assert found.metadata["general.architecture"] == "llama"
    assert found.metadata["list"] == ("a", "b")
    assert found.metadata["numbers"] == (1, -2, 3)
    assert [(one.name, one.type, one.shape, one.offset - len(GOOD), one.bytes) for one in found.tensors] == [
        ("w", "F32", (4, 2), 0, 32),
        ("v", "F32", (8,), 32, 32),
    ]


def test_the_reader_agrees_with_the_package_gguf(file: Path) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    values: dict[str, Any] = {"b": True, "s": "é", "f": 0.5, "i": -3, "u": 2**40, "a": (1.5, 2.5), "t": ("x", "")}
    writer.add_bool("b", True)
    writer.add_string("s", "é")
    writer.add_float64("f", 0.5)
    writer.add_int8("i", -3)
    writer.add_uint64("u", 2**40)
    writer.add_array("a", [1.5, 2.5])
    writer.add_array("t", ["x", ""])
    writer.add_tensor("w", np.zeros((2, 32), "f2"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found, theirs = read_header(file), gguf.GGUFReader(file)
    assert {key: found.metadata[key] for key in values} == values
    (ours,), (other,) = found.tensors, theirs.tensors
    assert (ours.shape, ours.offset, ours.bytes) == (tuple(other.shape), other.data_offset, other.n_bytes)


def test_every_type_of_tensor_has_the_size_that_the_package_gguf_gives_it() -> None:
    theirs = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert theirs == TYPES


def test_a_file_that_is_cut_off_is_told_with_the_byte_where_it_should_end(file: Path) -> None:
    file.write_bytes(GOOD + bytes(63))
    end = len(GOOD) + 64
    with pytest.raises(GGUFError, match=rf"is cut off: the tensor 'v' ends at byte {end}, the file has {end - 1}"):
        read_header(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{}", "is no GGUF file"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header({}, version=1), "of version 1, versions 2 and 3 are read"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "announces 1152921504606846976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 40), "announces 1099511627776 bytes"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 99), "of type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "an array of type 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 20), "is cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"\xff", "is not UTF-8"),
        (header({"general.alignment": 24}), "general.alignment is 24, must be a power of two"),
        (header({}, [("w", (4,), 77, 0)]), "is of type 77, which is unknown"),
        (header({}, [("w", (33,), 8, 0)]), "has 33 values a row, Q8_0 holds them by 32"),
        (header({}, [("w", (4,), F32, 32)]) + bytes(64), "begins at byte 32 of the weights, must begin at 0"),
        (header({}, [("w", (4,), F32, 0), ("w", (4,), F32, 32)]) + bytes(64), "stands there twice"),
        (header({}, [("w", (), F32, 0)]), "has 0 dimensions"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_damaged_file_is_told_in_one_line(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(GGUFError, match=said) as error:
        read_header(file)
    assert str(file) in str(error.value)
    assert len(error.value.lines) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_a_file_has_the_reader_raises_its_own_error_or_none(file: Path, data: st.DataObject) -> None:
    """A good file with some bytes changed, put in or cut away; so that lengths, types and counts become any number."""
    content = bytearray(GOOD + bytes(64))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    file.write_bytes(content)
    with suppress(GGUFError):
        read_header(file)
