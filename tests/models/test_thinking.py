from __future__ import annotations

from pathlib import Path

import pytest

from models.files.strict_yaml import ConfigError
from models.shipped import shipped_configs
from models.thinking import (
    Keep,
    ProbeFormat,
    ThinkingFormat,
    ThinkingTokens,
    ThoughtState,
    TransitionFormat,
    format_file,
    format_names,
    read_format,
)
from models.tokenizer import ChatTokenizer


@pytest.fixture(scope="session")
def thinking(tokenizer: ChatTokenizer) -> ThinkingTokens:
    return ThinkingTokens(ThinkingFormat(), tokenizer)


def transitions(thinking: ThinkingTokens, tokenizer: ChatTokenizer, text: str) -> list[str]:
    """The thought up to each transition point, as the points show while it grows token by token."""
    ids = tokenizer.encode(text)
    kept = []
    for end in range(1, len(ids) + 1):
        back = thinking.transition(ids[:end])
        if back is not None:
            assert back <= thinking.lookback
            kept.append(tokenizer.decode(ids[: end - back]))
    return kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("so 7. Wait, no", ["so 7."]),
        ("so 7 Wait no", ["so 7"]),
        ("Wait, no", [""]),
        ("(Wait) no", ["("]),
        ("so 7. Hmm, no", ["so 7."]),
        ("so 7. Alternatively, no", ["so 7."]),  # a cue word of several tokens
        ("so 7. Waiting for it", []),
        ("so 7. await it", []),
        ("so 7. aWait it", []),
        ("so 7. Wait's it", []),
        ("so 7. Wait_it", []),
        ("so 7. wait, no", []),  # another word: case counts
        ("so 7. Wait", []),  # may still become Waiting
        ("so 7. Waiting, Wait, Hmm.", ["so 7. Waiting,", "so 7. Waiting, Wait,"]),
        ("so 7.\n\nNext", ["so 7.\n\n"]),
        ("so 7.\nNext", []),
        ("so 7.\n\nWait, no", ["so 7.\n\n", "so 7.\n\n"]),
    ],
)
def test_a_thought_may_be_left_before_cue_words_and_after_paragraphs(
    thinking: ThinkingTokens, tokenizer: ChatTokenizer, text: str, kept: list[str]
) -> None:
    assert transitions(thinking, tokenizer, text) == kept


def test_ids_beyond_the_tokenizer_are_no_transition(thinking: ThinkingTokens, tokenizer: ChatTokenizer) -> None:
    beyond = len(tokenizer.texts)  # models pad their vocabulary to a round number of rows
    assert thinking.transition([beyond]) is None
    assert thinking.transition([beyond, beyond + 1]) is None
    assert thinking.transition([beyond, *tokenizer.encode("Wait,")]) == 2


def test_a_paragraph_end_counts_however_it_is_tokenized(thinking: ThinkingTokens, tokenizer: ChatTokenizer) -> None:
    (newline,) = tokenizer.encode("\n")
    words = tokenizer.encode("so 7.")
    assert thinking.transition([*words, newline]) is None
    assert thinking.transition([*words, newline, newline]) == 0


def test_an_empty_thought_has_no_transition(thinking: ThinkingTokens) -> None:
    assert thinking.transition([]) is None


def test_paragraphs_and_words_can_be_switched_off(tokenizer: ChatTokenizer) -> None:
    words = ThinkingTokens(ThinkingFormat(transitions=TransitionFormat(paragraphs=False)), tokenizer)
    assert transitions(words, tokenizer, "so 7.\n\nSo. Wait, no") == ["so 7.\n\nSo."]
    paragraphs = ThinkingTokens(ThinkingFormat(transitions=TransitionFormat(words=())), tokenizer)
    assert transitions(paragraphs, tokenizer, "so 7.\n\nSo. Wait, no") == ["so 7.\n\n"]


@pytest.mark.parametrize(
    ("prompt", "open_"),
    [
        ("a", False),
        ("<think>", True),
        ("say <think> and go on", True),
        ("<think>a</think>b", False),
        ("<think>a</think><think>", True),
    ],
)
def test_a_prompt_shows_whether_it_ends_inside_a_thought(
    thinking: ThinkingTokens, tokenizer: ChatTokenizer, prompt: str, open_: bool
) -> None:
    assert thinking.leaves_open(tokenizer.encode(prompt)) is open_


def test_the_probe_suffix_closes_the_thought(thinking: ThinkingTokens, tokenizer: ChatTokenizer) -> None:
    assert tokenizer.decode(thinking.probe_suffix[: thinking.keep_of(thinking.probe_suffix)]) == "\n</think>"
    (brace,) = tokenizer.encode("}")
    assert brace in thinking.probe_stops
    assert all("}" in tokenizer.texts[token] for token in thinking.probe_stops)


def test_a_marker_of_several_tokens_is_found_in_the_text(tokenizer: ChatTokenizer) -> None:
    form = ThinkingFormat(close="[/T]", landing="\n[/T]\n", probe=ProbeFormat(suffix="so [/T]7{"))
    thinking = ThinkingTokens(form, tokenizer)
    assert (thinking.close_id, tokenizer.decode(thinking.close)) == (None, "[/T]")
    assert tokenizer.decode(thinking.probe_suffix[: thinking.keep_of(thinking.probe_suffix)]) == "so [/T]"
    assert tokenizer.decode(thinking.after_words()) == "\n[/T]\n"
    assert thinking.state(tokenizer.encode("<think>a[/T]b")) is ThoughtState.CLOSED
    assert thinking.state(tokenizer.encode("[/T]b<think>a")) is ThoughtState.OPEN
    turn = tokenizer.encode("<|im_end|>")[0]
    assert thinking.state(tokenizer.encode("a[/T]<|im_end|>b"), {turn}) is ThoughtState.NOT_BEGUN


def test_a_probe_stop_outside_the_vocabulary_is_refused(tokenizer: ChatTokenizer) -> None:
    with pytest.raises(ConfigError, match="no token of the vocabulary contains a probe stop"):
        ThinkingTokens(ThinkingFormat(probe=ProbeFormat(stops=("\u2042",))), tokenizer)


def test_texts_that_do_not_close_the_thought_are_refused() -> None:
    with pytest.raises(ValueError, match=r"landing is 'so', must contain the closing marker '</think>'"):
        ThinkingFormat(landing="so")
    with pytest.raises(ValueError, match=r"probe\.suffix is 'so', must contain the closing marker"):
        ThinkingFormat(probe=ProbeFormat(suffix="so"))
    with pytest.raises(ValueError, match="opening is 'so', must contain the opening marker"):
        ThinkingFormat(opening="so")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("close: {text: [a]}", "open is '<think>', must be empty where close is a text: there are no markers"),
        ('open: ""\nopening: ""\nclose: {text: [a]}\nalso: [b]', "also is ('b',), must be empty where close is a text"),
        ("close: {text: []}", "text has no text, must have at least 1"),
        ('close: ""', "close is empty, must have at least 1 character"),
        ("close: [a]", "`close` must be a mapping of keys to values"),
        ("closing: so", "closing is 'so', must contain the closing marker '</think>'"),
        ('unshown: [""]', "unshown has an empty text, each must have at least 1 character"),
        ("family: {}", "names is empty, and so are types and template: one of them must have a text"),
        ("effort: {low: {word: low, budget: -1}}", "budget is -1, must be at least 0"),
        ("effort: {medum: {word: low}}", "unknown key `effort.medum`; did you mean `medium`?"),
    ],
)
def test_a_format_that_contradicts_itself_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "laser.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_format(tmp_path)
    assert why in str(caught.value)


def test_a_thought_in_the_open_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "laser.yaml").write_text(
        'open: ""\nopening: ""\nclose: {text: [so]}\nlanding: so\nprobe: {suffix: so}\n', "utf-8"
    )
    form = read_format(tmp_path)
    assert form is not None
    assert (form.in_the_open, form.plain, form.closers) == (True, False, ("so",))


def test_an_empty_conclusion_is_refused() -> None:
    with pytest.raises(ValueError, match="conclusions has an empty text, each must have at least 1 character"):
        ThinkingFormat(conclusions=("So the result is", ""))


def test_the_format_beside_the_model_is_read(tmp_path: Path) -> None:
    assert read_format(tmp_path) is None
    (tmp_path / "laser.yaml").write_text("keep: close\nprobe: {max_answer_tokens: 7}\n")
    assert read_format(tmp_path) == ThinkingFormat(keep=Keep.CLOSE, probe=ProbeFormat(max_answer_tokens=7))


def test_an_override_replaces_the_format_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "laser.yaml").write_text("keep: close\n")
    override = tmp_path / "mine.yaml"
    override.write_text("answer_reserve: 9\n")
    assert read_format(tmp_path, override) == ThinkingFormat(answer_reserve=9)


def test_a_misspelt_key_of_the_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "laser.yaml").write_text("keep: close\nprobe:\n  sufix: a\n")
    with pytest.raises(ConfigError, match=r"laser\.yaml:3:\d+: unknown key `probe\.sufix`; did you mean `suffix`\?"):
        read_format(tmp_path)


def test_every_format_that_ships_goes_by_its_name(tmp_path: Path) -> None:
    assert {"qwen3", "deepseek-r1-distill"} <= set(format_names())
    for name in format_names():
        (tmp_path / name).mkdir()  # a model's directory is often called so
        assert format_file(name, tmp_path) == shipped_configs() / "models" / f"{name}.yaml"
        assert read_format(tmp_path, Path(name)) == read_format(tmp_path, format_file(name))


def test_a_path_to_a_format_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text("answer_reserve: 7\n", encoding="utf-8")
    (tmp_path / "qwen3").write_text("answer_reserve: 8\n", encoding="utf-8")
    assert format_file("own.yaml", tmp_path) == own
    for said, reserve in (("./qwen3", 8), ("qwen3", 512)):
        form = read_format(tmp_path, format_file(said))
        assert form is not None
        assert form.answer_reserve == reserve


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "qwen4",
            f"'qwen4' is not one of {', '.join(format_names())}, and qwen4 is no file; did you mean qwen3?",
        ),
        ("configs/models/Qwen3.yaml", "is no file; did you mean qwen3?"),
        ("deepseek", "did you mean deepseek-r1-distill?"),
        ("zephyr", "zephyr is no file"),
        ("/", f"thinking format / is a directory, must be a YAML file or one of {', '.join(format_names())}"),
        ("x" * 300, "File name too long"),
        ("own.yaml/x", "own.yaml/x is no file"),
    ],
)
def test_an_unknown_format_is_told_the_names(tmp_path: Path, said: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        format_file(said)
    assert str(caught.value).endswith(why)
