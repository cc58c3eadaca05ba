"""What is in the hub's cache, told without the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.hub.cache import cache_contents
from models.hub.client import Hub
from models.hub.locating import fetch, locate
from models.hub.name import ModelName, read_name
from models.hub.problems import HubError
from tests.support.standin_hub import stand_in_hub


def test_each_model_of_a_cache_has_the_name_that_finds_it(tmp_path: Path) -> None:
    assert cache_contents(tmp_path / "none").models == ()
    with stand_in_hub() as standing:
        standing.revisions = ("main", "v1")
        standing.add("org/gguf", a__gguf=b"12345678")
        standing.repositories["org/gguf"] |= {"b-Q8_0-00001-of-00002.gguf": b"1", "b-Q8_0-00002-of-00002.gguf": b"23"}
        standing.add("org/tiny", config__json=b"{}", tokenizer__json=b"{}", model__safetensors=b"weights")
        hub = Hub(endpoint=standing.url, cache=tmp_path, offline=False)
        paths = {}
        for said in ("org/gguf:a", "org/gguf:Q8_0", "org/tiny@v1"):
            name = read_name(said)
            assert name is not None
            paths[said] = fetch(locate(name, hub, print), hub, lambda _: None, print).path
        standing.add("org/part", config__json=b"{}", tokenizer__json=b"{}", model__safetensors=b"weights")
        standing.gone = {"model.safetensors"}
        with pytest.raises(HubError):
            fetch(locate(ModelName(repository="org/part"), hub, print), hub, lambda _: None, print)
    (tmp_path / "models--org--tiny" / "blobs" / f"{'0' * 64}.incomplete").write_bytes(b"abc")
    (tmp_path / "datasets--org--data").mkdir()
    found = cache_contents(tmp_path)
    part, *whole = sorted(found.models, key=lambda one: not one.why)
    assert (str(part.name), part.size) == ("org/part", 4)
    assert part.why.startswith("org/part has no weights that are read here")
    assert {str(one.name): (one.path, one.size, one.why) for one in whole} == {
        "org/gguf:a": (paths["org/gguf:a"], 8, ""),
        "org/gguf:Q8_0": (paths["org/gguf:Q8_0"], 3, ""),
        "org/tiny@v1": (paths["org/tiny@v1"], 11, ""),
    }
    assert found.unfinished == 3
