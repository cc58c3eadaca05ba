"""The bytes of a text's tokens are those of the text, whatever kind of vocabulary splits it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from models.grammar.token_bytes import bytes_of
from models.tokenizer import ChatTokenizer


@given(text=st.text(max_size=60))
def test_byte_level_tokens_add_up_to_the_text(tokenizer: ChatTokenizer, text: str) -> None:
    assert b"".join(tokenizer.token_bytes[token] for token in tokenizer.encode_text(text)) == text.encode()


def test_control_tokens_have_no_bytes_and_can_be_in_no_answer(tokenizer: ChatTokenizer) -> None:
    assert tokenizer.markers.ids
    assert not any(tokenizer.token_bytes[token] for token in tokenizer.markers.ids)


def test_words_are_taken_as_they_are_decoded() -> None:
    tokenizer = Tokenizer(models.WordLevel({"red": 0, "[UNK]": 1, "blue": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_tokens([AddedToken("<x>")])
    assert bytes_of(tokenizer, frozenset({1})) == (b"red", b"", b"blue", b"<x>")


def test_a_byte_beside_characters_is_that_byte() -> None:
    vocabulary = {"<unk>": 0, "<0xC3>": 1, "<0xB6>": 2, "▁a": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(Regex(" "), "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert bytes_of(tokenizer)[1:] == (b"\xc3", b"\xb6", b" a")
