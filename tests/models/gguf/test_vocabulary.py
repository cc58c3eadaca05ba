from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from models.generation import read_generation_defaults
from models.gguf.errors import GGUFError
from models.gguf.splitting import WAYS
from models.prompts.agreement import TEXTS
from models.tokenizer import ChatTokenizer
from tests.support.gguf_files import MODEL, save
from tests.support.given_gguf import VARIABLE, given
from tests.support.llama_vocabulary import LlamaVocabulary
from tests.support.processes import ROOT

CORPUS = (
    *TEXTS,
    *((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("gguf.md", "api.md")),
    "1234567 12 345 6789 ٣٤٥ ½² Ⅷ x1y22z333 3.14e-10",
    "don't DON'T we'Ll I'm 'S x'd they'RE",
    "   \n\n  \t x \r\n\r\n y   z  ",
    "HelloWorld camelCaseXML ABCdef iPhone",
    "中文测试，日本語テスト。한국어 테스트!",
    "a/b//c\n/d <|im_end|> e=mc^2 + ~x| <y> `z` $5",
    "\u00a0nbsp\u2003em\u3000wide 🐈\u200d⬛👩🏽\u200d🚀",
)
MARKED = ("नमस्ते दुनिया", "a\u0301 e\u0300u ไทย")  # with combining marks
APPROXIMATED = frozenset({"gpt-4o", "llama4", "kanana2", "minimax-m2", "tekken"})
"""Ways in which llama.cpp takes combining marks for no part of a word, unlike the models' own tokenizers and LASER."""


@pytest.fixture(scope="module")
def merged() -> dict[str, Any]:
    """Vocabulary and merges of bytes that were learned across words, so that every other way to split shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=6,  # shorter than the markers that are added
    )
    texts = [*CORPUS, *MARKED * 20]
    tokenizer.train_from_iterator([line for text in texts for line in text.splitlines(keepends=True)], trainer)
    learned: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return learned


def byte_level(merged: dict[str, Any], way: str) -> dict[str, Any]:
    tokens = sorted(merged["vocab"], key=merged["vocab"].get)
    return {
        **MODEL,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": way,
        "tokenizer.ggml.tokens": [*tokens, "<|im_end|>", "<think>"],
        "tokenizer.ggml.token_type": [*[1] * len(tokens), 3, 4],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merged["merges"]],
        "tokenizer.ggml.bos_token_id": len(tokens),
        "tokenizer.ggml.eos_token_id": len(tokens),
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }


def agree(file: Path, texts: Sequence[str] = (*CORPUS, *MARKED)) -> None:
    """Text becomes the same tokens here and in llama.cpp."""
    ours, theirs = ChatTokenizer(file), LlamaVocabulary(file)
    for text in texts:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text)
        if not ours.markers.spelled_in(text):  # so that grammars can be matched with them
            said = b"".join(ours.token_bytes[token] for token in tokens)
            assert said in (text.encode(), b" " + text.encode())  # one may be put before the text
    assert ours.encode_prompt("So it is") == theirs.encode("So it is", begins=True)
    assert read_generation_defaults(file).stop_tokens == theirs.ends
    theirs.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_byte_level_vocabulary_splits_text_as_llama_cpp_does(
    tmp_path: Path, merged: dict[str, Any], way: str
) -> None:
    texts = CORPUS if way in APPROXIMATED else (*CORPUS, *MARKED)
    agree(save(tmp_path / "model.gguf", byte_level(merged, way)), texts)


def test_combining_marks_belong_to_the_word_as_the_models_have_learned(tmp_path: Path, merged: dict[str, Any]) -> None:
    tokenizer = ChatTokenizer(save(tmp_path / "model.gguf", byte_level(merged, "gpt-4o")))
    words = [word for word, _ in tokenizer._fast.pre_tokenizer.pre_tokenize_str("नमस्ते ok")]
    assert len(words) == 2


def test_each_way_splits_text_otherwise_than_the_others(tmp_path: Path, merged: dict[str, Any]) -> None:
    """So that the comparison with llama.cpp tells the ways apart."""
    firsts = {way: name for name, way in reversed(WAYS.items())}
    found = set()
    for name in firsts.values():
        tokenizer = ChatTokenizer(save(tmp_path / f"{name}.gguf", byte_level(merged, name)))
        found.add(tuple(tuple(tokenizer.encode(text)) for text in (*CORPUS, *MARKED)))
    assert len(found) == len({way.patterns for way in firsts})


def test_tokens_without_a_text_are_called_as_llama_cpp_calls_them(tmp_path: Path, merged: dict[str, Any]) -> None:
    keys = byte_level(merged, "qwen2")
    keys["tokenizer.ggml.tokens"] += ["", ""]
    keys["tokenizer.ggml.token_type"] += [1, 1]
    file = save(tmp_path / "model.gguf", keys)
    agree(file)
    count = len(keys["tokenizer.ggml.tokens"])
    named = [f"[EMPTY_{number}]" for number in (count - 2, count - 1)]
    tokenizer, theirs = ChatTokenizer(file), LlamaVocabulary(file)
    assert list(tokenizer.texts[-2:]) == named == [theirs.text(count - 2), theirs.text(count - 1)]
    theirs.close()


@pytest.mark.parametrize("prefixed", [True, False])
def test_a_vocabulary_of_sentences_splits_text_as_llama_cpp_does(tmp_path: Path, prefixed: bool) -> None:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    letters = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, show_progress=False, max_token_length=10, special_tokens=letters, limit_alphabet=120
    )
    tokenizer.train_from_iterator([line for text in CORPUS for line in text.splitlines()], trainer)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)  # type: ignore[arg-type]
    metadata = {
        **MODEL,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [float(-number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)],
        "tokenizer.ggml.add_space_prefix": prefixed,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    agree(save(tmp_path / "model.gguf", metadata))


@pytest.mark.skipif(given() is None, reason=f"{VARIABLE} names no GGUF file of a real model")
def test_a_real_model_s_texts_become_the_tokens_that_llama_cpp_gives_them() -> None:
    file = given()
    assert file is not None
    agree(file)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tokenizer.ggml.pre": "unheard-of"}, r"tokenizer\.ggml\.pre is 'unheard-of', .* model\.tokenizer\.json"),
        ({"tokenizer.ggml.model": "rwkv"}, r"tokenizer\.ggml\.model is 'rwkv', gpt2, llama and gemma4 are read"),
        ({"tokenizer.ggml.tokens": []}, "holds no vocabulary"),
        ({"tokenizer.ggml.tokens": ["a", "b", "a"]}, "the token 'a' stands there twice, with the ids 0 and 2"),
        ({"tokenizer.ggml.merges": ["ab"]}, r"tokenizer\.ggml\.merges holds 'ab', must be two tokens"),
        ({"tokenizer.ggml.merges": ["a unknown"]}, "the tokenizer cannot be used: .*unknown"),
        ({"tokenizer.ggml.token_type": [1]}, r"tokenizer\.ggml\.token_type is \(1,\), must be 1502 whole numbers"),
        ({"tokenizer.huggingface.json": "{}"}, "the tokenizer cannot be used"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_told(
    tmp_path: Path, merged: dict[str, Any], keys: dict[str, Any], said: str
) -> None:
    file = save(tmp_path / "model.gguf", {**byte_level(merged, "qwen2"), **keys})
    with pytest.raises(GGUFError, match=said) as error:
        ChatTokenizer(file)
    assert len(error.value.lines) == 1


def test_a_tokenizer_beside_the_file_goes_before_its_own(tmp_path: Path, merged: dict[str, Any]) -> None:
    file = save(tmp_path / "model.gguf", byte_level(merged, "unheard-of"))
    known = ChatTokenizer(save(tmp_path / "known.gguf", byte_level(merged, "qwen2")))
    beside = tmp_path / "model.tokenizer.json"
    beside.write_text(known._fast.to_str(), encoding="utf-8")
    assert ChatTokenizer(file).encode(CORPUS[0]) == known.encode(CORPUS[0])
    said = json.loads(beside.read_text(encoding="utf-8"))
    said["model"]["vocab"]["Ġ"], said["model"]["vocab"]["a"] = said["model"]["vocab"]["a"], said["model"]["vocab"]["Ġ"]
    beside.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(GGUFError, match=r"has the id \d+, its tokenizer\.json says \d+"):
        ChatTokenizer(file)


def test_sampling_that_the_file_states_is_the_default(tmp_path: Path, merged: dict[str, Any]) -> None:
    sampling = {"temp": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "typical_p": 0.9, "mirostat_tau": 5.0}
    keys = {f"general.sampling.{name}": value for name, value in sampling.items()}
    found = read_generation_defaults(save(tmp_path / "model.gguf", {**byte_level(merged, "qwen2"), **keys}))
    assert (found.temperature, found.top_k, found.top_p, found.min_p) == (0.6, 20, 0.95, 0.05)
    assert found.unused == ("typical_p 0.9",)
