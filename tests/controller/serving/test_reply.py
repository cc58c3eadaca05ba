"""A reply as text: two channels, stop strings, white space and characters that span tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.serving.choices.scores import TokenScore
from controller.serving.reply import Channel, Delta, Reply
from models.tokenizer import ChatTokenizer

# some tokens of the tiny vocabulary are whole words, so that a stop string may begin, end or lie inside a token
WORDS = ["a", "b", " ", "\n", " answer", " solution", "Wait", "ing"]
PIECES = st.lists(st.sampled_from(WORDS), max_size=10)
STOPS = st.lists(
    st.text("ab \n", min_size=1, max_size=3)
    | st.sampled_from(["swer", "sw", "nswer", "nswe", "answer s", "r sol", "aitin", "Wai", "ting a", "wer a"]),
    max_size=3,
    unique=True,
)


def say(
    tokenizer: ChatTokenizer, *pieces: str, thinking: bool = False, stop: tuple[str, ...] = ()
) -> tuple[list[Delta], Reply]:
    """The deltas of a reply whose tokens end where the pieces do; a piece of `None` text closes the thought."""
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=thinking, stop=stop)
    for piece in pieces:
        if piece == "</think>":
            reply.close_thought()
        else:
            for token in tokenizer.encode(piece):
                reply.push(token)
    reply.finish()
    return deltas, reply


def text(deltas: list[Delta], channel: Channel) -> str:
    assert all(delta.text for delta in deltas), "an empty delta"
    return "".join(delta.text for delta in deltas if delta.channel is channel)


def cut(whole: str, stops: tuple[str, ...]) -> str:
    """What is left of an answer: all before the stop string that is complete first; white space alone is no answer."""
    if not whole.strip():
        return whole
    whole = whole.lstrip()
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    return whole[: min(ends)[1]] if ends else whole


def test_the_closing_marker_parts_thought_and_answer(tokenizer: ChatTokenizer) -> None:
    deltas, _ = say(tokenizer, "\nI think.\n", "</think>", "\n\nSo 7.", thinking=True)
    assert text(deltas, Channel.REASONING) == "I think."
    assert text(deltas, Channel.CONTENT) == "So 7."


def test_white_space_inside_a_thought_is_kept(tokenizer: ChatTokenizer) -> None:
    deltas, _ = say(tokenizer, "a\n\n", "b ", " c", "</think>", "d", thinking=True)
    assert text(deltas, Channel.REASONING) == "a\n\nb  c"


def test_an_answer_cut_before_its_first_visible_character_is_not_empty(tokenizer: ChatTokenizer) -> None:
    first_byte, *_ = tokenizer.encode("∎")
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=False, stop=())
    reply.push(first_byte)
    reply.finish()
    assert text(deltas, Channel.CONTENT) == "\ufffd"


def cut_exactly(whole: str, stops: tuple[str, ...]) -> str:
    """What is left of a text that goes on: all before the stop string that is complete first."""
    ends = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    return whole[: min(ends)[1]] if ends else whole


@given(pieces=PIECES, stops=STOPS)
def test_what_goes_on_with_a_text_is_said_exactly(
    tokenizer: ChatTokenizer, pieces: list[str], stops: list[str]
) -> None:
    """White space, stop strings in it, and the tokens' scores, whose texts make up what is said."""
    deltas: list[Delta] = []
    before = tokenizer.stream(tokenizer.encode("a "))
    reply = Reply(
        emit=deltas.append, decoder=tokenizer.stream, thinking=False, going_on=before, stop=tuple(stops), scored=True
    )
    assert reply.answered
    tokens = tokenizer.encode("".join(pieces))
    for token in tokens:
        reply.push(token, scores=(TokenScore(token, -1.0),))
    reply.finish()
    said = cut_exactly("".join(pieces), tuple(stops))
    assert text(deltas, Channel.CONTENT) == said
    scored = "".join(tokenizer.texts[score.token] for delta in deltas for score in delta.scores)
    assert scored.startswith(said)
    assert reply.stopped or scored == said


def test_a_thought_that_goes_on_is_exact_up_to_its_marker_and_its_answer_begins_visibly(
    tokenizer: ChatTokenizer,
) -> None:
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=True, going_on=tokenizer.stream(), stop=())
    reply.push(*tokenizer.encode(" so 7.\n"))
    assert not reply.answered
    reply.close_thought()
    assert not reply.answered
    reply.push(*tokenizer.encode("\n\n7"))
    reply.finish()
    assert text(deltas, Channel.REASONING) == " so 7."
    assert text(deltas, Channel.CONTENT) == "7"


def test_white_space_at_the_end_of_an_answer_is_kept(tokenizer: ChatTokenizer) -> None:
    deltas, _ = say(tokenizer, " a \n")
    assert text(deltas, Channel.CONTENT) == "a \n"


@given(pieces=PIECES, stops=STOPS)
def test_an_answer_ends_before_its_stop_string_wherever_tokens_end(
    tokenizer: ChatTokenizer, pieces: list[str], stops: list[str]
) -> None:
    deltas, reply = say(tokenizer, *pieces, stop=tuple(stops))
    said = "".join(pieces)
    whole = said.lstrip()
    assert text(deltas, Channel.CONTENT) == (cut(whole, tuple(stops)) if whole else said)
    assert reply.stopped == any(stop in whole for stop in stops)


@given(pieces=PIECES, stops=STOPS)
def test_text_that_cannot_belong_to_a_stop_string_is_not_held_back(
    tokenizer: ChatTokenizer, pieces: list[str], stops: list[str]
) -> None:
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=False, stop=tuple(stops))
    pushed = ""
    for token in tokenizer.encode("".join(pieces)):
        reply.push(token)
        pushed = (pushed + tokenizer.texts[token]).lstrip()
        if reply.stopped:
            return
        held = pushed[len(text(deltas, Channel.CONTENT)) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


@given(thought=st.text("ab \n", max_size=12), stops=STOPS)
def test_stop_strings_do_not_end_a_thought(tokenizer: ChatTokenizer, thought: str, stops: list[str]) -> None:
    deltas, reply = say(tokenizer, thought, "</think>", "x", thinking=True, stop=tuple(stops))
    assert text(deltas, Channel.REASONING) == thought.strip()
    assert text(deltas, Channel.CONTENT) == "x"
    assert not reply.stopped


def test_of_two_stop_strings_in_one_token_the_first_to_be_complete_counts(tokenizer: ChatTokenizer) -> None:
    """So that a reply does not depend on where its tokens end."""
    assert len(tokenizer.encode(" answer")) == 1
    in_one = say(tokenizer, "an", " answer", stop=("nswer", "sw"))[0]
    in_many = say(tokenizer, "an", " a", "n", "s", "w", "e", "r", stop=("nswer", "sw"))[0]
    assert text(in_one, Channel.CONTENT) == text(in_many, Channel.CONTENT) == "an an"


def test_nothing_is_said_after_a_stop_string(tokenizer: ChatTokenizer) -> None:
    deltas, reply = say(tokenizer, "a b", "STOP", "more", stop=("STOP",))
    assert text(deltas, Channel.CONTENT) == "a b"
    assert reply.stopped


def test_characters_that_span_tokens_come_out_whole(tokenizer: ChatTokenizer) -> None:
    deltas, _ = say(tokenizer, "🐈", "猫", "</think>", "ñ🐈\u200d⬛", thinking=True)
    assert [delta.text for delta in deltas if delta.channel is Channel.REASONING] == ["🐈", "猫"]
    assert text(deltas, Channel.CONTENT) == "ñ🐈\u200d⬛"


def test_an_answer_cut_before_its_first_visible_character_is_what_there_is(tokenizer: ChatTokenizer) -> None:
    assert text(say(tokenizer, " \n")[0], Channel.CONTENT) == " \n"
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=False, stop=())
    reply.push(tokenizer.encode("🐈")[0])
    reply.finish()
    assert text(deltas, Channel.CONTENT) == "\ufffd"


def test_an_answer_is_there_once_it_shows_a_character(tokenizer: ChatTokenizer) -> None:
    assert not say(tokenizer, " \n")[1].answered
    assert say(tokenizer, " \n", "a")[1].answered
    assert not say(tokenizer, "a", thinking=True)[1].answered


def test_half_a_character_behind_a_stop_string_is_not_shown(tokenizer: ChatTokenizer) -> None:
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=False, stop=("b",))
    reply.push(*tokenizer.encode("ab"), *tokenizer.encode("é")[:1])  # at once, as of a thought in the open
    assert text(deltas, Channel.CONTENT) == "a"
