"""What a model directory says of decoding: sampling for requests that do not say, and the tokens that end a reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.generation import GenerationDefaults, read_generation_defaults
from models.tokenizer import TokenizerError


def written(directory: Path, name: str, **said: Any) -> Path:
    (directory / name).write_text(json.dumps(said))
    return directory


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


def test_penalties_hold_whether_a_reply_is_sampled_or_not(tmp_path: Path) -> None:
    said = {"repetition_penalty": 1.05, "presence_penalty": 1.5, "min_p": 0.05}
    greedy = read_generation_defaults(written(tmp_path, "generation_config.json", **said))
    assert (greedy.repetition_penalty, greedy.presence_penalty, greedy.min_p) == (1.05, 1.5, 0.0)
    sampled = read_generation_defaults(written(tmp_path, "generation_config.json", do_sample=True, **said))
    assert (sampled.repetition_penalty, sampled.presence_penalty, sampled.min_p) == (1.05, 1.5, 0.05)


@pytest.mark.parametrize(("said", "temperature"), [({"do_sample": True}, 1.0), ({"do_sample": None}, 0.0), ({}, 0.0)])
def test_what_is_not_said_is_what_transformers_takes(tmp_path: Path, said: Any, temperature: float) -> None:
    defaults = read_generation_defaults(written(tmp_path, "generation_config.json", **said))
    assert defaults == GenerationDefaults(temperature=temperature)


# --- end tokens


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        ({"eos_token_id": [2, 0]}, None, {0, 2}),
        ({"eos_token_id": 5}, {"eos_token_id": [6]}, {5, 6}),
        ({"eos_token_id": None}, {"eos_token_id": 6}, {6}),
        ({"text_config": {"eos_token_id": 4, "vocab_size": 9}}, {"eos_token_id": None}, {4}),
        ({"eos_token_id": 1, "text_config": {"eos_token_id": [3, 4]}}, {"eos_token_id": [5, 5]}, {1, 3, 4, 5}),
        ({}, {}, set()),
    ],
)
def test_a_reply_ends_at_the_tokens_of_both_files(tmp_path: Path, config: Any, generation: Any, ends: set[int]) -> None:
    written(tmp_path, "config.json", **config)
    if generation is not None:
        written(tmp_path, "generation_config.json", **generation)
    assert read_generation_defaults(tmp_path).stop_tokens == ends


@pytest.mark.parametrize("token", ["x", "2", 2.0, True, -1, 10, 10**30, [2], {}, float("nan")])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("listed", [True, False])
def test_what_is_no_token_of_the_vocabulary_is_refused_by_file(
    tmp_path: Path, file: str, token: Any, listed: bool
) -> None:
    if token == [2] and not listed:
        return
    written(tmp_path, "config.json", vocab_size=10)
    said = {"vocab_size": 10, "eos_token_id": [1, token] if listed else token}
    written(tmp_path, file, **said)
    with pytest.raises(
        TokenizerError, match=r"eos_token_id holds .*must be a whole number at least 0 and below the"
    ) as no:
        read_generation_defaults(tmp_path)
    assert str(no.value).startswith(f"{tmp_path / file}: cannot be used: ")


# --- settings


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "", '{"temperature": '])
def test_damaged_generation_defaults_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(TokenizerError, match=r"generation_config\.json: is (not JSON, or only a part|.*JSON object)"):
        read_generation_defaults(tmp_path)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('"temperature": -1', "temperature is -1, must be a number at least 0 and at most 2"),
        ('"temperature": NaN', "temperature is nan, must be a number at least 0 and at most 2"),
        ('"temperature": 1e400', "temperature is inf, must be a number at least 0"),
        ('"temperature": 200', "temperature is 200, must be"),
        ('"temperature": "hot"', "temperature is 'hot', must be"),
        ('"temperature": true', "temperature is True, must be"),
        ('"temperature": [0.6]', r"temperature is \[0.6\], must be"),
        ('"top_p": 0', "top_p is 0, must be a number above 0 and at most 1"),
        ('"top_p": 1.5', "top_p is 1.5, must be"),
        ('"top_p": -Infinity', "top_p is -inf, must be"),
        ('"top_k": 2.5', "top_k is 2.5, must be a whole number at least 0"),
        ('"top_k": -3', "top_k is -3, must be"),
        ('"top_k": NaN', "top_k is nan, must be"),
        ('"top_k": ' + "9" * 400, "top_k is 9+…, must be"),
        ('"min_p": 2', "min_p is 2, must be a number at least 0 and at most 1"),
        ('"repetition_penalty": 0', "repetition_penalty is 0, must be a number above 0"),
        ('"repetition_penalty": Infinity', "repetition_penalty is inf, must be a number above 0"),
        ('"typical_p": "x"', "typical_p is 'x', must be"),
        ('"num_beams": 0', "num_beams is 0, must be a whole number at least 1"),
        ('"max_new_tokens": -5', "max_new_tokens is -5, must be"),
        ('"do_sample": "false"', "do_sample is 'false', must be true or false"),
    ],
)
@pytest.mark.parametrize("sampled", [True, False])
def test_a_setting_out_of_its_range_is_refused_by_key_and_value(
    tmp_path: Path, setting: str, told: str, sampled: bool
) -> None:
    first = "" if "do_sample" in setting else f'"do_sample": {json.dumps(sampled)}, '
    (tmp_path / "generation_config.json").write_text(f"{{{first}{setting}}}")
    with pytest.raises(TokenizerError, match=told) as no:
        read_generation_defaults(tmp_path)
    assert str(no.value).startswith(f"{tmp_path}/generation_config.json: cannot be used: ")


@pytest.mark.parametrize(
    ("said", "unused"),
    [
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "typical_p": 0.9, "min_p": 0.05, "num_beams": 2},
            ("typical_p 0.9", "num_beams 2"),
        ),
        # greedy nonetheless, but penalties hold
        (
            {"temperature": 0.6, "top_p": 0.9, "top_k": 50, "min_p": 0.1, "repetition_penalty": 1.1},
            ("temperature 0.6", "top_p 0.9", "min_p 0.1"),
        ),
        ({"do_sample": True, "repetition_penalty": 1.0, "min_p": 0, "num_beams": 1, "bad_words_ids": None}, ()),
        ({"max_new_tokens": 768, "pad_token_id": 0, "transformers_version": "5"}, ("max_new_tokens 768",)),
        ({"suppress_tokens": [3], "stop_strings": "x"}, ("suppress_tokens (a list)", "stop_strings (a text)")),
        ({"new setting\n": 3}, ("'new setting\\n' 3",)),
    ],
)
def test_settings_that_do_nothing_here_are_told(tmp_path: Path, said: Any, unused: tuple[str, ...]) -> None:
    assert read_generation_defaults(written(tmp_path, "generation_config.json", **said)).unused == unused
