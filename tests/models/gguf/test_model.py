from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.directory import beside, gguf_of
from models.gguf.errors import GGUFError
from models.gguf.model import find_gguf, read_model
from tests.support.gguf_files import MODEL, header, save


def split(folder: Path, count: int = 3, *, announced: int = 3) -> list[Path]:
    """A model in several files, each with one tensor; `announced`: how many tensors they say to have together."""
    files = []
    for number in range(count):
        keys: dict[str, Any] = {"split.no": number, "split.count": count, "split.tensors.count": announced}
        metadata = {**(MODEL if number == 0 else {}), **keys}
        files.append(save(folder / f"big-{number + 1:05}-of-{count:05}.gguf", metadata))
    return files


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"general.type": "adapter"}, "is no model, but an adapter"),
        ({"general.type": "mmproj"}, r"is no model, but .*\(mmproj\)"),
        ({"general.architecture": "clip"}, r"sees or hears .* must be a language model"),
        ({"general.architecture": "nomic-bert"}, "a model of embeddings"),
        ({"general.architecture": ""}, "general.architecture is '', must name one"),
    ],
)
def test_what_is_no_language_model_is_told_as_what_it_is(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(GGUFError, match=said):
        read_model(save(tmp_path / "model.gguf", {**MODEL, **keys}))


def test_a_vocabulary_without_weights_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.gguf").write_bytes(header(MODEL))
    with pytest.raises(GGUFError, match="holds no tensor, only a vocabulary"):
        read_model(tmp_path / "vocabulary.gguf")


def test_a_split_model_is_read_from_its_first_file(tmp_path: Path) -> None:
    files = split(tmp_path)
    found = read_model(files[0])
    assert (list(found.files), found.name, sum(1 for _ in found.tensors)) == (files, "big", 3)
    assert find_gguf(tmp_path) == files[0]


def test_files_with_fewer_tensors_than_announced_are_told(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match=r"split\.tensors\.count is 5, the 3 files hold 3"):
        read_model(split(tmp_path, announced=5)[0])


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    files = split(tmp_path)
    files[1].unlink()
    with pytest.raises(GGUFError, match=r"has 3 files, missing: big-00002-of-00003\.gguf"):
        read_model(files[0])


def test_the_first_part_is_asked_for_where_another_is_given(tmp_path: Path) -> None:
    files = split(tmp_path)
    with pytest.raises(GGUFError, match=r"is not the first part .* give big-00001-of-00003\.gguf"):
        read_model(files[2])


def test_parts_that_were_renamed_are_told(tmp_path: Path) -> None:
    files = split(tmp_path)
    files[2].write_bytes(files[1].read_bytes())
    with pytest.raises(GGUFError, match=r"big-00003-of-00003\.gguf: is not part 3 of 3"):
        read_model(files[0])
    with pytest.raises(GGUFError, match=r"must be called NAME-00001-of-00003\.gguf"):
        read_model(files[0].rename(tmp_path / "first.gguf"))


def test_a_directory_means_its_only_gguf_file(tmp_path: Path) -> None:
    file = save(tmp_path / "one.gguf")
    save(tmp_path / "mmproj-one.gguf", {**MODEL, "general.architecture": "clip"})
    assert find_gguf(tmp_path) == file
    assert beside(tmp_path, "laser.yaml") == tmp_path / "laser.yaml"
    save(tmp_path / "two.gguf")
    with pytest.raises(GGUFError, match=r"holds 2 models, one\.gguf, two\.gguf: give one of the files"):
        gguf_of(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert find_gguf(tmp_path) is None


def test_what_belongs_to_a_file_lies_beside_it_under_its_name(tmp_path: Path) -> None:
    file = save(tmp_path / "one-Q4_K_M.gguf")
    assert beside(file, "profile.json") == tmp_path / "one-Q4_K_M.profile.json"
    assert beside(tmp_path / "big-00001-of-00003.gguf", "laser.yaml") == tmp_path / "big.laser.yaml"


@pytest.mark.parametrize("value", [0, -1, "7", True, 1.5, [512]])
def test_a_context_that_is_no_whole_number_is_told(tmp_path: Path, value: object) -> None:
    model = read_model(save(tmp_path / "model.gguf", {**MODEL, "llama.context_length": value}))
    with pytest.raises(GGUFError, match=r"llama\.context_length is .*, must be a whole number in 1…"):
        _ = model.context
