"""A model directory's defaults for requests that do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.chat_model import read_generation_defaults
from models.tokenizer import TokenizerError


def test_a_model_that_samples_by_default_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "generation_config.json"
    assert read_generation_defaults(tmp_path).temperature == 0.0
    path.write_text('{"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "eos_token_id": [7, 9]}')
    defaults = read_generation_defaults(tmp_path)
    assert (defaults.temperature, defaults.top_p, defaults.top_k) == (0.6, 0.95, 20)
    assert defaults.stop_tokens == {7, 9}
    path.write_text('{"do_sample": false, "temperature": 0.6, "eos_token_id": 7}')
    assert read_generation_defaults(tmp_path).temperature == 0.0
    assert read_generation_defaults(tmp_path).stop_tokens == {7}


@pytest.mark.parametrize("text", ["{", "[]", '{"eos_token_id": "x"}', '{"do_sample": true, "temperature": -1}'])
def test_damaged_generation_defaults_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(TokenizerError, match=r"generation_config\.json: cannot be used"):
        read_generation_defaults(tmp_path)
