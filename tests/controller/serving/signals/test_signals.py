"""Each exit signal by itself, several together, and how a signal is made from its name and level."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy import SPELLED, Limits
from controller.serving.request import ExitReason
from controller.serving.signals.base import SIGNALS, Asks, make_signal
from controller.serving.signals.confidence import Confidence
from controller.serving.signals.consistency import Consistency
from controller.serving.signals.exit_rule import ExitRule
from controller.serving.signals.margin import Margin
from engine.base import MARGIN, Probed, ProbeId, ProbeSpec, SequenceId

TRIAL = ProbeSpec(suffix=(1, 2), max_answer_tokens=4, answer_stops=frozenset({3}))


def probed(confidence: float = 0.5, answer: tuple[int, ...] = (7,), **options: Any) -> Probed:
    return Probed(
        sequence=SequenceId(0),
        probe=ProbeId(0),
        terminator=None,
        log_probs=(-0.1,) * len(answer),
        confidence=confidence,
        answer=answer,
        rows=4,
        **{"gave_up": False, **options},
    )


@dataclass(frozen=True, slots=True)
class Toy:
    """Met always."""

    level: float
    reason: ClassVar[str] = "toy"
    asks: ClassVar[Asks] = Asks.TRIAL_ANSWER
    read: ClassVar[frozenset[str]] = frozenset()
    give_up_below: ClassVar[float] = 0.4

    def closes(self, probes: Sequence[Probed]) -> bool:
        return True


def test_confidence_is_met_at_its_threshold() -> None:
    assert Confidence(0.9).closes([probed(0.9)])
    assert not Confidence(0.9).closes([probed(0.95), probed(0.89)])
    assert not Confidence(0.9).closes([probed(0.95, gave_up=True)])
    assert (Confidence(0.9).give_up_below, Confidence(1.01).give_up_below) == (0.9, 0.0)


def test_consistency_is_met_by_equal_answers_in_a_row() -> None:
    one, other, none = probed(answer=(7,)), probed(answer=(8,)), probed(answer=())
    assert Consistency(2).closes([other, one, one])
    assert not Consistency(3).closes([other, one, one])
    assert not Consistency(2).closes([one, other])
    assert not Consistency(2).closes([one])
    assert not Consistency(2).closes([none, none])


def test_a_margin_is_met_by_its_reading() -> None:
    assert Margin(2.0).closes([probed(readings={MARGIN: 2.0})])
    assert not Margin(2.0).closes([probed(readings={MARGIN: 1.0}), probed(readings={MARGIN: 2.1})])
    assert Margin(2.0).read == {MARGIN}


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("confidence", 0.0, r"threshold is 0\.0, must be above 0"),
        ("consistency", 1, "agree is 1, must be at least 2"),
        ("margin", -1.0, r"margin is -1\.0, must be finite and at least 0"),
    ],
)
def test_a_level_out_of_range_is_refused(name: str, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_signal(name, level)


def test_every_signal_of_the_registry_can_be_made_and_has_its_own_reason() -> None:
    made = {name: make_signal(name, 2 if name in SPELLED else 1) for name in SIGNALS}
    assert {name: signal.reason for name, signal in made.items()} == {name: name for name in SIGNALS}
    assert SPELLED.keys() <= SIGNALS.keys()
    assert all(signal.reason in list(ExitReason) for name, signal in made.items() if name in SPELLED)


# --- limits


def test_limits_name_their_signals() -> None:
    limits = Limits(threshold=0.9, agree=3, exits={"x:Y": 0.5})
    assert limits.signals == {"confidence": 0.9, "consistency": 3, "x:Y": 0.5}
    assert list(limits.signals) == ["confidence", "consistency", "x:Y"]
    assert Limits(margin=2.0).signals == {"margin": 2.0}
    assert Limits(exits={"x:Y": 0.5}).probing
    assert not limits.unprobed().probing
    assert Limits(budget=9).signals == {}


def test_limits_are_compared_by_value() -> None:
    assert Limits(exits={"x:Y": 0.5}) == Limits(exits={"x:Y": 0.5}) != Limits(exits={"x:Y": 0.6})
    assert hash(Limits(exits={"x:Y": 0.5})) == hash(Limits(exits={"x:Y": 0.5}))


@pytest.mark.parametrize(
    ("exits", "message"),
    [
        ({"confidence": 0.9}, r"exits has confidence at 0\.9, which must be given as threshold"),
        ({"consistency": 3}, "exits has consistency at 3, which must be given as agree"),
        ({"x:Y": float("nan")}, "exits has x:Y at nan, must be finite"),
    ],
)
def test_a_level_in_exits_is_finite_and_no_field_s(exits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(exits=exits)


# --- together


def test_signals_share_a_probe_that_gives_up_only_where_none_can_be_met() -> None:
    assert ExitRule((Confidence(0.9), Toy(1.0))).spec(TRIAL, 5, 6).give_up_below == 0.4
    assert ExitRule((Confidence(0.9), Consistency(2))).give_up_below == 0.0
    assert ExitRule((Confidence(1.01),)).give_up_below == 0.0


@given(threshold=st.none() | st.floats(0.01, 1.2), agree=st.none() | st.integers(2, 4))
def test_a_trial_answer_gives_up_below_the_threshold_unless_unsure_ones_count(
    threshold: float | None, agree: int | None
) -> None:
    rule = ExitRule.of(Limits(threshold=threshold, agree=agree))
    never = threshold is None or threshold > 1.0 or agree is not None
    assert rule.give_up_below == (0.0 if never else threshold)


def test_a_margin_s_probe_decodes_the_last_token_again() -> None:
    spec = ExitRule((Margin(1.0),)).spec(TRIAL, 5, 6)
    assert (spec.suffix, spec.max_answer_tokens, spec.read, spec.watched) == ((5,), 1, {MARGIN}, 6)


def test_the_first_signal_that_is_met_gives_the_reason() -> None:
    rule = ExitRule.of(Limits(threshold=0.9, agree=2))
    assert rule.verdict(Asks.TRIAL_ANSWER, [probed(0.95), probed(0.95)]) is ExitReason.CONFIDENCE
    assert rule.verdict(Asks.TRIAL_ANSWER, [probed(0.5), probed(0.5)]) is ExitReason.CONSISTENCY
    assert rule.verdict(Asks.TRIAL_ANSWER, [probed(0.5)]) is None


def test_a_signal_waits_for_a_probe_of_its_own() -> None:
    """Its limits may have come into force while another probe ran."""
    rule = ExitRule((Margin(1.0),))
    assert rule.verdict(Asks.TRIAL_ANSWER, [probed(1.0)]) is None
    assert rule.verdict(Asks.NEXT_TOKEN, [probed(1.0)]) is None
    assert rule.verdict(Asks.NEXT_TOKEN, [probed(readings={MARGIN: 0.5})]) is ExitReason.MARGIN


def test_signals_that_ask_for_different_probes_cannot_be_together() -> None:
    with pytest.raises(ValueError, match="toy asks for the trial answer and margin for the next token, must be one"):
        ExitRule((Toy(1.0), Margin(1.0)))


# --- one's own, by module:Class


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module `own_signals`, still empty."""
    module = ModuleType("own_signals")
    monkeypatch.setitem(sys.modules, "own_signals", module)
    return module


def test_a_class_of_one_s_own_is_found_by_module_and_name(own: ModuleType) -> None:
    own.Toy = Toy  # type: ignore[attr-defined]
    assert make_signal("own_signals:Toy", 0.5) == Toy(0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("entropy", f"entropy is unknown, must be one of {', '.join(SIGNALS)} or module:Class"),
        ("own_signals:", "own_signals: is unknown, must be one of"),
        (".own_signals:Toy", "is unknown, must be one of"),
        ("no_such_module:Toy", "signal no_such_module:Toy: there is no module 'no_such_module'"),
        ("own_signals:Toy", "signal own_signals:Toy: module 'own_signals' has no 'Toy'"),
    ],
)
def test_a_signal_that_is_not_there_is_named(own: ModuleType, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_signal(name, 0.5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"reason": "budget"},
            "has reason budget, must be none of budget, deadline, hopeless, loop, natural, requested",
        ),
        ({"reason": ""}, "has reason '', must be a word"),
        ({"asks": "everything"}, "asks 'everything', must be one of trial answer, next token"),
        ({"read": ["margin"]}, "must be a frozenset of names"),
        ({"read": frozenset({"entropy"})}, "signal own_signals:Made: read has entropy, must be of margin"),
        ({"closes": True}, "has closes True, must be a method"),
        ({"__init__": lambda self: None}, "cannot be made from its level 0.5"),
    ],
)
def test_a_class_of_another_shape_is_refused(own: ModuleType, parts: dict[str, object], message: str) -> None:
    shape = {"__init__": lambda self, level: None, "reason": "toy", "asks": Asks.TRIAL_ANSWER, "read": frozenset()}
    shape |= {"give_up_below": 0.0, "closes": lambda self, probes: True}
    own.Made = type("Made", (), {**shape, **parts})  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=message):
        make_signal("own_signals:Made", 0.5)


def test_parts_that_are_missing_are_named(own: ModuleType) -> None:
    own.Made, own.made = type("Made", (), {"__init__": lambda self, level: None, "reason": "toy"}), 3  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="has no asks, no read, no give_up_below, no closes, must be a Signal"):
        make_signal("own_signals:Made", 0.5)
    with pytest.raises(ValueError, match="signal own_signals:made is 3, must be a class"):
        make_signal("own_signals:made", 0.5)
