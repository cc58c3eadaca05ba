"""What a terminal shows while `laser serve` loads a model: a bar with the stage and the share that is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.support.live_server import save_random_model
from tests.support.terminals import read_until, terminal

BAR = re.compile(r"loading (\w+)\s+\[([#-]*)\]\s+(\d+)%")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A model whose weights lie in several files."""
    save_random_model(tmp_path)
    weights = AutoModelForCausalLM.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    weights.save_pretrained(tmp_path, max_shard_size="150KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    return tmp_path


@pytest.mark.slow
def test_the_bar_shows_each_stage_and_the_share_of_the_weights_and_is_gone_when_the_server_is_ready(
    sharded: Path,
) -> None:
    with terminal("serve", "--port", "0", "--threads", "1", "--model", str(sharded)) as (_, ours, _its):
        shown = read_until(ours, " is ready at ")
    loading, ready = shown.split("\r\x1b[2K\x1b[?25h")  # the bar's line is emptied, and the cursor is back
    assert " is ready at " in ready
    assert "loading weights" not in ready
    bars = [(stage, len(done), len(done.rstrip("-")), int(share)) for stage, done, share in BAR.findall(loading)]
    stages = list(dict.fromkeys(stage for stage, *_ in bars))
    assert stages == ["libraries", "tokenizer", "policy", "weights"]
    shares = [share for stage, *_, share in bars if stage == "weights"]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert any(0 < share < 100 for share in shares)
    for _, width, filled, share in bars:
        assert abs(filled - width * share / 100) <= 1
