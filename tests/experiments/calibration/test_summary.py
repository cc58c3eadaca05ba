"""A profile in words."""

from __future__ import annotations

from dataclasses import asdict, replace

from experiments.calibration.step_times import TIMING, Steadiness
from experiments.calibration.summary import lines, summary
from models.profile.certificate import certify, evidence, upper_bound
from tests.support.model_profile import PROFILE


def test_the_summary_names_classes_range_and_plant() -> None:
    told = summary(PROFILE)
    assert told.startswith("With full thought 41.4 % of 100 questions are answered right, at 133 tokens a request")
    assert told.splitlines()[1].startswith("The shortest thoughts that are certified are closed at confidence 0.")
    assert lines(PROFILE) == told.splitlines()
    assert "50% of the variance" in told
    assert "risk at most 0.1 at confidence 0.95: thresholds down to 0.80 without a budget" in told
    assert "1.00 ms + (100 us + 100 ns per cached token) per sequence, to 5%; up to 32 sequences" in told
    assert "7.5 token rows, 0.80 ms" in told


def test_a_refused_certificate_is_told_and_certifies_nothing() -> None:
    given = PROFILE.certificate
    seen = evidence(2, 90, None, given.count, given.delta)
    refused = certify(given.harmed, given.count, epsilon=given.epsilon, delta=given.delta, evidence=seen)
    told = summary(replace(PROFILE, certificate=refused))
    assert "Nothing but full thought is certified, on 100 questions: no thought will be closed early." in told
    assert "confidence 0.95: none but the full thought\nNOT CERTIFIED: the full thought is right for 2.0% of" in told


def test_the_share_of_exits_that_answer_otherwise_is_told() -> None:
    given = PROFILE.certificate
    seen = evidence(90, 95, [[0, 40], [1, 40], [5, 50]], given.count, given.delta)
    certificate = certify(given.harmed, given.count, epsilon=given.epsilon, delta=given.delta, evidence=seen)
    bound = upper_bound(5, given.count, given.delta / 6)  # at the laxest certified corner: 0.8 without a budget
    told = summary(replace(PROFILE, certificate=certificate))
    assert f"answer otherwise than the full thought, rightly or wrongly: for at most {bound:.1%} of" in told
    assert "answer otherwise than the full thought: not recorded" in summary(PROFILE)


def test_a_machine_that_did_other_work_is_told_with_what_to_do() -> None:
    def told(spread: float, waited: float | None) -> str:
        steady = Steadiness(spread=spread, drift=0.01, waited=waited)
        return " ".join(summary(replace(PROFILE, provenance={TIMING: asdict(steady)})).split())

    warning = (
        "The machine did other work while steps were timed (steps of one kind spread by 60 %, and changed by 1 % from "
        "begin to end, the engine waited for the CPU 40 % of the time): run the same command again once it is quiet"
    )
    assert warning in told(0.6, 0.4)
    assert "from begin to end): run the same command" in told(0.6, None)
    assert "did other work" not in told(0.05, 0.01)
    assert "did other work" not in summary(PROFILE)  # of an earlier release
