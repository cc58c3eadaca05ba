"""How likely a reply's tokens were, beside its text: what is cut off the text is cut there, too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.serving.choices.scores import ReplyScores, TokenScore
from controller.serving.reply import Channel, Delta, Reply
from engine.base import TokenLogProbs
from models.tokenizer import ChatTokenizer

PIECES = st.lists(
    st.sampled_from(["a", "b", " ", "\n", " answer", " solution", "Wait", "🐈", "é"]), min_size=1, max_size=10
)
STOPS = st.lists(st.sampled_from(["swer", "r sol", "b", "a b", "ait", "🐈", "\n\n"]), max_size=2, unique=True)


def say(tokenizer: ChatTokenizer, text: str, stop: tuple[str, ...], *, thought: bool) -> tuple[str, list[int]]:
    """The text of a reply, and the tokens of which the scores have come with it."""
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=tokenizer.stream, thinking=thought, stop=stop, scored=True)
    for place, token in enumerate(tokenizer.encode(text)):
        reply.push(token, scores=(TokenScore(token, -float(place)),))
    if thought:
        reply.close_thought()
    reply.finish()
    assert {delta.channel for delta in deltas} <= {Channel.REASONING if thought else Channel.CONTENT}
    scores = [score for delta in deltas for score in delta.scores]
    places = [int(-score.log_prob) for score in scores]
    assert places == list(range(places[0], places[0] + len(places))) if places else True  # each once, and in order
    return "".join(delta.text for delta in deltas), [score.token for score in scores]


@given(pieces=PIECES, stops=STOPS, thought=st.booleans())
def test_scores_are_those_of_the_tokens_that_the_reader_sees(
    tokenizer: ChatTokenizer, pieces: list[str], stops: list[str], thought: bool
) -> None:
    text, tokens = say(tokenizer, "".join(pieces), tuple(stops), thought=thought)
    spelled = [tokenizer.spellings[token] for token in tokens]
    said, shown = b"".join(spelled), text.encode()
    assert said.lstrip().startswith(shown.lstrip())  # the first token may begin with white space that is dropped
    if shown.strip():
        assert len(said.lstrip()) - len(spelled[-1]) < len(shown)  # the last one begins within the text
        assert len(spelled[0]) > len(said) - len(said.lstrip())  # the first one does not end before it


def test_a_character_of_several_tokens_has_all_their_scores(tokenizer: ChatTokenizer) -> None:
    assert len(tokenizer.encode("🐈")) > 1
    assert say(tokenizer, "a🐈b", (), thought=False) == ("a🐈b", tokenizer.encode("a🐈b"))


def test_a_stop_string_takes_its_tokens_along(tokenizer: ChatTokenizer) -> None:
    a, stop, more = (tokenizer.encode(text) for text in ("a", "STOP", "more"))
    assert say(tokenizer, "a" + "STOP" + "more", ("STOP",), thought=False)[1] == a, (stop, more)


def test_what_is_withdrawn_of_a_thought_has_no_scores() -> None:
    scores = ReplyScores(wanted=True)
    scores.come((1, 2, 3, 4), [TokenLogProbs(log_prob=-float(token)) for token in (1, 2, 3, 4)])
    scores.think(3)
    scores.cut(2)
    assert scores.of_thought(0, 9) == [TokenScore(1, -1.0), TokenScore(2, -2.0)]
    scores.return_from(1)  # the second belongs to the answer: it is the next, before the one that has come last
    assert (scores.next(), scores.next(), scores.next()) == ((TokenScore(2, -2.0),), (TokenScore(4, -4.0),), ())
    assert scores.of_thought(0, 9) == [TokenScore(1, -1.0)]


def test_what_nobody_knows_has_a_place_and_no_score() -> None:
    scores = ReplyScores(wanted=True)
    scores.come((1, 2), ())  # forced, and the engine has computed neither
    assert (scores.next(), scores.next()) == ((None,), (None,))
    unwanted = ReplyScores(wanted=False)
    unwanted.come((1,), [TokenLogProbs(log_prob=-1.0)])
    unwanted.think(1)
    assert (unwanted.next(), unwanted.of_thought(0, 1)) == ((), [])
