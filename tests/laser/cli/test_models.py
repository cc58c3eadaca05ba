"""Models by name in commands, and `laser models`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.fitting.shelf import ShelvedModel, shelf
from laser.cli.common.located import InMiB, located
from laser.cli.models.listing import lines
from models.hub.cache import CacheContents, CachedModel
from models.hub.name import ModelName
from models.hub.problems import HubError
from tests.support.processes import errors, laser, serving
from tests.support.standin_hub import stand_in_hub


def test_a_path_that_exists_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert located(Path("org/model")) == Path("org/model")
    assert located(None) is None


def test_what_is_neither_a_path_nor_a_name_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="none: is neither a path that exists nor a model's name, ORG/NAME"):
        located(tmp_path / "none")


def test_progress_counts_whole_mebibytes_and_the_rest() -> None:
    told: list[int] = []
    count = InMiB((5 << 20) + 7, 1 << 20)
    assert (count.total, count.done) == (6, 1)
    count.advance = lambda more, state="", /: told.append(more)
    for more in (1 << 19, 1 << 19, 3, 3 << 20, -(2 << 20), 2 << 20, 4):
        count(more)
    assert told == [1, 3, -2, 2, 1]
    assert count.done == count.total


def test_models_are_listed_with_what_serves_them(random_model: Path) -> None:
    name = ModelName(repository="org/part", revision="v1")
    cached = (
        CachedModel(name=ModelName(repository="org/tiny"), path=random_model, size=3 << 20),
        CachedModel(name=name, path=Path("cache/part"), size=7, why="org/part@v1 has no tokenizer.json"),
        CachedModel(name=ModelName(repository="org/bare", quant=None), path=random_model / "none", size=0),
    )
    contents = CacheContents(place=Path("cache"), models=cached, unfinished=1 << 30)
    bundled, tiny, part, bare = found = shelf(contents)
    assert (bundled.name, bundled.engines, bundled.stored, bundled.why) == (None, ("torch",), "F16", "")
    assert (tiny.name, tiny.engines, tiny.stored) == ("org/tiny", ("torch",), "F32")
    assert part == ShelvedModel(name="org/part@v1", path=part.path, size=7, stored="", engines=(), why=cached[1].why)
    assert bare.why == f"{random_model / 'none'}: config.json is missing; a model directory is needed"
    text = "\n".join(lines(found, contents)).splitlines()
    assert [line.split() for line in text[:4]] == [
        ["model", "size", "stored", "as", "engines"],
        ["(bundled)", *f"{text[1]}".split()[1:3], "F16", "torch"],
        ["org/tiny", "3", "MiB", "F32", "torch"],
        ["org/part@v1", "7", "B", "?", "none"],
    ]
    assert "org/part@v1 has no tokenizer.json" in text
    assert "org/bare: config.json is missing; a model directory is needed" in text
    assert "1 GiB there are of unfinished downloads, which the same --model goes on with" in text


@pytest.mark.slow
def test_a_model_is_served_by_its_name_and_without_the_hub_too(random_model: Path, tmp_path: Path) -> None:
    token = "hf_neverShownToAnybody"
    variables = {"HF_HOME": str(tmp_path), "HF_TOKEN": token, "NO_PROXY": "127.0.0.1"}
    with stand_in_hub() as hub:
        hub.repositories["org/tiny"] = {file.name: file.read_bytes() for file in random_model.iterdir()}
        hub.token = token
        config = tmp_path / "serve.yaml"
        config.write_text("model: org/tiny\n")
        with serving("--config", config, HF_ENDPOINT=hub.url, **variables) as (process, ready):
            process.kill()
            told = errors(process)
    assert ready.startswith("org/tiny is ready at ")
    assert f"they go to {tmp_path / 'hub'}" in told
    assert "Fetching, MiB: " in told
    with serving("--model", "org/tiny", HF_ENDPOINT=hub.url, **variables) as (process, ready):
        process.kill()
        again = errors(process)
    assert ready.startswith("org/tiny is ready at ")
    assert f"org/tiny: {hub.url} cannot be reached" in again
    assert "what the cache holds serves" in again
    listed = laser("models", "--json", **variables)
    assert [(one["name"], one["engines"]) for one in json.loads(listed.stdout)][1:] == [("org/tiny", ["torch"])]
    assert token not in told + again + listed.stdout + listed.stderr
    wrong = laser("evaluate", "--model", "org/tin", HF_HUB_OFFLINE="1", **variables)
    assert wrong.stderr == (
        "Error: org/tin: HF_HUB_OFFLINE is set, and the cache does not hold it, nor is there such a path; did you mean "
        "`org/tiny`?\n"
    )
