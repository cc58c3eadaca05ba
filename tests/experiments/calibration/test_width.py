"""Races replayed on recorded replies: who wins, what it costs, and what a profile gets of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments.calibration.races.racing import UnfitForWidth, asked_temperature, draws_for, replies_of, widened
from experiments.calibration.races.sampled import RepliesError, SampledReply
from experiments.calibration.races.width import Contender, RacedQuestion, race, raced, races, rules
from experiments.calibration.traces import ThoughtTrace
from models.chat_model import load_chat_model
from models.files.appended import json_line
from models.generation import GenerationDefaults
from models.profile.width import RaceRule
from models.reasoner import bundled_model
from tests.support.analysis_profile import made_profile
from tests.support.contests import contest

MODEL = {"weights_sha256": "ab", "max_tokens": 541}


def one(tokens: int, answer: str, *, right: bool | None = None) -> Contender:
    return Contender(tokens=tokens, answer=answer, right=answer == "7" if right is None else right)


SHORT, LONG, WRONG = one(10, "7"), one(30, "7"), one(20, "8")


def test_the_shortest_reply_wins_and_the_others_cost_as_much() -> None:
    found = race([LONG, WRONG, SHORT], vote=False)
    assert (found.winner, found.steps, found.rows) == (SHORT, 10, 30)


def test_a_vote_waits_until_it_is_decided() -> None:
    found = race([LONG, WRONG, SHORT], vote=True)
    assert (found.winner, found.steps, found.rows) == (SHORT, 30, 60)
    early = race([LONG, one(12, "7"), SHORT], vote=True)
    assert (early.winner, early.steps, early.rows) == (SHORT, 12, 10 + 12 + 12)


def test_what_ends_together_ends_in_the_order_of_asking() -> None:
    assert race([WRONG, one(20, "7")], vote=False).winner is WRONG


def test_a_question_s_races_are_all_that_its_replies_allow() -> None:
    question = RacedQuestion(greedy=LONG, samples=tuple(one(k, "7") for k in (11, 12, 13, 14, 15)))
    greedy = list(races(question, RaceRule(width=3)))
    assert len(greedy) == 10
    assert {race[0] for race in greedy} == {LONG}
    drawn = list(races(question, RaceRule(width=3, asked=0.7)))
    assert len(drawn) == 5 * 6
    assert all(len(set(race)) == 3 for race in drawn)
    with pytest.raises(ValueError, match="5 sampled replies, too few for a width of 7"):
        list(races(question, RaceRule(width=7)))
    with pytest.raises(ValueError, match="too few for a width of 2"):
        list(races(replace(question, greedy=None), RaceRule(width=2)))


def test_a_question_counts_as_the_mean_of_its_races() -> None:
    question = RacedQuestion(greedy=LONG, samples=(SHORT, WRONG))
    found = raced([question], [RaceRule(width=2), RaceRule(width=3, vote=True)])
    assert found.alone.tolist() == [1.0]
    assert found.right.tolist() == [[0.5, 1.0]]
    assert found.rows.tolist() == [[(10 + 10 + 20 + 20) / 2, 60]]
    assert found.harm.tolist() == [[0.5, 0.0]]
    assert found.steps == (((10, 20), (30,)),)


def test_steps_are_percentiles_in_which_questions_count_alike() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 500, size=(40, 3))
    asked = [
        RacedQuestion(greedy=one(int(a), "7"), samples=(one(int(b), "7"), one(int(c), "7"))) for a, b, c in lengths
    ]
    member = np.arange(40) % 2 == np.arange(2)[:, None]
    tables = raced(asked, [RaceRule(width=2)]).tables(member, epsilon=0.5, delta=0.1)
    for d in range(2):
        ended = np.minimum(lengths[d::2, :1], lengths[d::2, 1:]).ravel()  # two races of each question
        assert tables.p95_steps[d][0] == np.percentile(ended, 95, method="inverted_cdf")


def test_rules_are_first_to_finish_and_votes_of_three_and_more() -> None:
    found = rules(0.7, 0.0, range(2, 5))
    assert [(rule.width, rule.vote) for rule in found] == [
        (2, False), (3, False), (4, False), (3, True), (4, True),
    ]  # fmt: skip
    assert {(rule.asked, rule.temperature) for rule in found} == {(0.0, 0.7)}


# --- a profile's own replies


def traces(count: int) -> list[ThoughtTrace]:
    rng = np.random.default_rng(1)
    return [
        ThoughtTrace(
            number=n, prompt=(1, n % 7, 20 + n % 50), thought=(5,) * int(rng.integers(5, 300)), right=n % 4 > 0,
            tokens=40, rows=40, probes=(), natural=True, answer="7" if n % 4 else "8",
        )
        for n in range(count)
    ]  # fmt: skip


def write_replies(profile: Path, keys: list[str], samples: int) -> None:
    with replies_of(profile).open("wb") as file:
        file.write(json_line({"format": "laser-replies", "version": 1, **MODEL, "temperature": 0.7, "seed": 3}))
        for key in keys:
            for sample in range(samples):
                reply = SampledReply(
                    question=key, sample=sample, tokens=30 + sample, thought_tokens=20, answer="7", right=True,
                    ended_by="natural",
                )  # fmt: skip
                file.write(json_line(asdict(reply)))


def test_a_profile_gets_races_of_the_replies_beside_it(tmp_path: Path) -> None:
    chat, keys, file = load_chat_model(bundled_model()), [f"{n:064x}" for n in range(600)], tmp_path / "profile.json"
    write_replies(file, keys, 4)
    before = replace(made_profile(), contest=contest(0.1))
    made = widened(before, chat, traces(600), keys, file, MODEL, 3)
    found = made.width
    assert found is not None
    assert replace(made, width=None) == before  # the contest, too: it was held among the points without races
    assert [rule.width for rule in found.rules] == [2, 3, 3]
    assert {(rule.asked, rule.temperature) for rule in found.rules} == {(0.0, 0.7)}
    assert sum(found.counts) == found.count == 600
    assert [one.mean for one in found.net] == pytest.approx([-0.25] * 3)  # all wrong answers are outrun, or outvoted
    assert all(found.certified)


def test_too_few_and_foreign_replies_are_refused(tmp_path: Path) -> None:
    chat, keys, file = load_chat_model(bundled_model()), [f"{n:064x}" for n in range(40)], tmp_path / "profile.json"
    with pytest.raises(RepliesError, match="no replies can be read"):
        widened(made_profile(), chat, traces(40), keys, file, MODEL, 3)
    write_replies(file, keys[:-1], 3)
    with pytest.raises(RepliesError, match="has 0 sampled replies, must have 3: `laser calibrate --width 3`"):
        widened(made_profile(), chat, traces(40), keys, file, MODEL, 3)
    write_replies(file, keys, 3)
    with pytest.raises(RepliesError, match="another max_tokens"):
        widened(made_profile(), chat, traces(40), keys, file, {**MODEL, "max_tokens": 100}, 3)


def test_replies_of_another_temperature_than_the_model_s_requests_have_now_are_refused(tmp_path: Path) -> None:
    chat, keys, file = load_chat_model(bundled_model()), [f"{n:064x}" for n in range(40)], tmp_path / "profile.json"
    write_replies(file, keys, 3)
    made = {}
    for asked in (0.0, 0.7, 0.9):
        drawn = replace(chat, defaults=replace(chat.defaults, temperature=asked))
        if asked == 0.9:
            with pytest.raises(RepliesError, match=r"at a temperature of 0\.7, and .* drawn at 0\.9: .*width 2`"):
                widened(made_profile(), drawn, traces(40), keys, file, MODEL, 2)
            continue
        made[asked] = widened(made_profile(), drawn, traces(40), keys, file, MODEL, 2).width
    assert [table and table.rules[0].asked for table in made.values()] == [0.0, 0.7]


def test_models_that_draw_by_more_than_a_temperature_are_refused() -> None:
    assert asked_temperature(GenerationDefaults(temperature=0.6)) == 0.6
    with pytest.raises(UnfitForWidth, match=r"top_p at 0.95, must be by their temperature alone, top_p at 1"):
        asked_temperature(GenerationDefaults(temperature=0.6, top_p=0.95))


def test_greedy_models_race_at_the_usual_temperature() -> None:
    draws = draws_for(load_chat_model(bundled_model()), 5, 541)
    assert (draws.temperature, draws.samples, draws.max_tokens) == (0.7, 5, 541)
