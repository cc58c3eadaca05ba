from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.prompts.template import Chat
from models.tokenizer import ChatTokenizer, TokenizerError


@pytest.mark.parametrize("text", ["Wait, 3 + 4 = 7.\n\n", "<think>\nHmm</think>", "naïve 猫 🐈\u200d⬛ ñ"])
def test_text_survives_encoding(tokenizer: ChatTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_markers_are_single_tokens(tokenizer: ChatTokenizer) -> None:
    assert len(tokenizer.encode("<think>")) == len(tokenizer.encode("</think>")) == 1


def test_a_chat_renders_up_to_the_reply(tokenizer: ChatTokenizer) -> None:
    prompt = tokenizer.render(Chat(messages=[{"role": "user", "content": "hi"}]))
    assert tokenizer.decode(prompt) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_texts_gives_every_id_its_text(tokenizer: ChatTokenizer) -> None:
    (close,) = tokenizer.encode("</think>")
    assert tokenizer.texts[close] == "</think>"
    assert len(tokenizer.texts) > close
    assert tokenizer.eos_ids == frozenset(tokenizer.encode("<|im_end|>"))


def test_a_character_split_over_tokens_comes_out_whole(tokenizer: ChatTokenizer) -> None:
    ids = tokenizer.encode("🐈猫")
    assert len(ids) == 7
    stream = tokenizer.stream()
    assert [stream.push(token) for token in ids] == ["", "", "", "🐈", "", "", "猫"]


@given(st.text(max_size=40))
def test_streaming_any_text_gives_that_text(tokenizer: ChatTokenizer, text: str) -> None:
    stream = tokenizer.stream()
    assert "".join(stream.push(token) for token in tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text))


@given(st.lists(st.integers(0, 424), max_size=60))
def test_streaming_any_tokens_withdraws_nothing(tokenizer: ChatTokenizer, ids: list[int]) -> None:
    stream = tokenizer.stream()
    streamed = "".join(stream.push(token) for token in ids)
    whole = tokenizer.decode(ids)
    assert whole.startswith(streamed)
    assert whole[len(streamed) :].strip("\ufffd") == ""  # only an unfinished character may be missing


def spaced(directory: Path) -> ChatTokenizer:
    """A tokenizer that writes blanks as ▁ and leaves out the one at the beginning of a text, as Llama 2's does."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    bytes_ = [f"<0x{byte:02X}>" for byte in "€".encode()]
    tokens = ["<unk>", "▁four", "four", "▁", ".", *bytes_]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[], unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(directory)
    return ChatTokenizer(directory)


@pytest.mark.parametrize(
    ("before", "tokens", "said"),
    [
        ((), (1, 4), "four."),
        ((2,), (1, 4), " four."),
        ((2, 3), (2, 1), "four four"),
        ((2, 5, 6, 7), (1, 5, 6, 7), " four€"),
        ((5,), (6, 7), ""),  # half a character before it: nobody can say what it is joined to
    ],
    ids=str,
)
def test_what_follows_a_text_keeps_the_blank_that_a_tokenizer_leaves_out_at_a_beginning(
    tmp_path: Path, before: tuple[int, ...], tokens: tuple[int, ...], said: str
) -> None:
    stream = spaced(tmp_path).stream(before)
    assert "".join(map(stream.push, tokens)) == said


def test_ids_beyond_the_tokenizer_are_no_text(tokenizer: ChatTokenizer) -> None:
    """Padded vocabularies let a model sample ids that have no token."""
    (a,) = tokenizer.encode("a")
    stream = tokenizer.stream()
    assert "".join(stream.push(token) for token in (len(tokenizer.texts) + 3, a, a)) == "aa"


def test_the_rest_of_a_stream_shows_its_half_character(tokenizer: ChatTokenizer) -> None:
    stream = tokenizer.stream()
    assert stream.push(tokenizer.encode("a")[0]) == "a"
    assert stream.rest() == ""
    assert stream.push(tokenizer.encode("🐈")[0]) == ""
    assert stream.rest() == "\ufffd"


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json is missing") as caught:
        ChatTokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"model": 3}', b"\xff\xfe"])
def test_a_damaged_tokenizer_is_refused(tokenizer_directory: Path, tmp_path: Path, damage: bytes) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tokenizer_directory, directory)
    (directory / "tokenizer.json").write_bytes(damage)
    with pytest.raises(TokenizerError, match="cannot be loaded") as caught:
        ChatTokenizer(directory)
    assert str(directory) in str(caught.value)


def test_messages_that_the_template_rejects_are_an_error(tokenizer_directory: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tokenizer_directory, directory)
    (directory / "chat_template.jinja").write_text("{{ raise_exception('only users may speak') }}")
    with pytest.raises(TokenizerError, match="only users may speak"):
        ChatTokenizer(directory).render(Chat(messages=[{"role": "system", "content": "x"}]))


def test_a_tokenizer_without_a_chat_template_says_so(tokenizer_directory: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tokenizer_directory, directory)
    (directory / "chat_template.jinja").unlink()
    with pytest.raises(TokenizerError, match="template"):
        ChatTokenizer(directory).render(Chat(messages=[{"role": "user", "content": "x"}]))
