"""Every policy by its name through the real loop and engine, and what each of them is for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.controller import Controller
from controller.planning.planner import Planner
from controller.policies.auto import Auto
from controller.policies.definition import Made, PolicyContext, needs_profile
from controller.policies.registry import POLICIES, changed, find, kind_of
from controller.policy import FixedPolicy, Limits
from controller.serving.admission import AdmissionLimits
from controller.serving.fair_queue import Claim
from controller.serving.ordering.turns import ServingOrder
from controller.serving.request import ExitReason, Thought
from controller.settings import ControllerSettings, FixedSettings, PriceSource
from controller.status import DecisionSource
from models.profile.certificate import certify, evidence
from models.profile.profile import Profile, ProfileError
from tests.support.analysis_profile import made_profile
from tests.support.driven_controller import AtOnce
from tests.support.serving_bench import ENDLESS, Bench, Heard

Chain = Callable[..., Bench]

PROFILE = made_profile(certified_to=5)
SETTINGS: dict[str, dict[str, object]] = {
    "signal": {"signal": "tests.support.toy_signal:HalfSure", "level": 0.8},
    "fixed": {"threshold": 0.85},
    "budget": {"budget": 12},
    "consistency": {"agree": 2, "every": 4},
    "margin": {"margin": 12.0},
}
KINDS = [kind for kind in POLICIES if kind != "auto"]


def controller(profile: Profile) -> Controller:
    planner = Planner(profile.tables(), clock=time.perf_counter)
    return Controller(profile, settings=FixedSettings(ControllerSettings()), solver=AtOnce(planner), max_batch=8)


def made(kind: str, profile: Profile | None = PROFILE, **settings: object) -> Made:
    policy = changed(Auto(), kind, {**SETTINGS.get(kind, {}), **settings})
    assert kind_of(policy) == kind
    return policy.make(PolicyContext(profile=profile, max_batch=8, controller=controller))


def thought(heard: Heard) -> Thought:
    return heard.outcome.thought


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_policy_serves_through_the_real_loop(chain: Chain, name: str) -> None:
    policy = made(name)
    bench = chain(ENDLESS, policy=policy.policy, observer=policy.observer)
    replies = [bench.submit(max_tokens=90, difficulty=("easy", "hard", None)[number % 3])[1] for number in range(12)]
    bench.run()
    reasons = {thought(heard).exit_reason for heard in replies}
    expected = {
        "consistency": {ExitReason.CONSISTENCY},
        "margin": {ExitReason.MARGIN},
        "fixed": {ExitReason.CONFIDENCE},
        "signal": {"half sure"},
    }.get(name)
    if expected is None:
        # what thinks till it is stopped is closed by its budget, or by confidence where the policy asks for it
        assert reasons <= {ExitReason.BUDGET, ExitReason.CONFIDENCE}
    else:
        assert reasons == expected
    assert all(heard.content for heard in replies)
    if name == "no-thinking":
        assert all(thought(heard).tokens == 0 for heard in replies)
    if name in ("budgets-only", "budget", "load-table", "none"):
        assert all(thought(heard).probes == 0 for heard in replies)


def test_probes_that_agree_close_a_thought_however_unsure_they_are(chain: Chain) -> None:
    unsure = {**ENDLESS, "{": {"7": 0.6}, "7": {"}": 0.6}}
    for agree, every in ((2, 4), (3, 4), (3, 6)):
        bench = chain(unsure, policy=FixedPolicy(Limits(agree=agree, every=every)))
        found = thought(bench.ask(max_tokens=120))
        assert found.exit_reason is ExitReason.CONSISTENCY
        assert found.probes == agree
        assert found.tokens == agree * every  # the thought ends where the last of them was asked
        assert found.confidence == pytest.approx(0.6, abs=0.01)


def test_empty_answers_never_agree(chain: Chain) -> None:
    bench = chain({**ENDLESS, "{": {"}": 0.9}}, policy=FixedPolicy(Limits(agree=2, every=3)))
    found = thought(bench.ask(max_tokens=60))
    assert found.exit_reason is ExitReason.BUDGET
    assert found.probes > 3


def test_a_confident_probe_closes_a_thought_before_enough_agree(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.8, agree=5, every=4)))
    found = thought(bench.ask(max_tokens=120))
    assert (found.exit_reason, found.probes) == (ExitReason.CONFIDENCE, 1)


def test_a_client_that_wants_no_probes_gets_none_of_either_kind(chain: Chain) -> None:
    bench = chain(ENDLESS, policy=FixedPolicy(Limits(threshold=0.5, agree=2, every=4)))
    found = thought(bench.ask(max_tokens=60, early_exit=False))
    assert (found.exit_reason, found.probes) == (ExitReason.BUDGET, 0)


def test_the_shortest_expected_thought_is_admitted_first(chain: Chain) -> None:
    order = ServingOrder.of(made_profile(), head_start_s=math.inf)
    limits = FixedPolicy(Limits(budget=6))
    bench = chain(ENDLESS, policy=limits, max_batch=1, admission=AdmissionLimits(slots=1), order=order)
    lengths = [5.0, 30.0, 10.0, 20.0, 10.0]
    order: list[int] = []
    waiting = []
    for number, length in enumerate(lengths):
        waiting.append(bench.submit(claim=Claim(length=length))[1])
        if not number:
            bench.tick()  # the first is running before the others come
    while bench.loop.busy:
        bench.tick()
        order += [number for number, heard in enumerate(waiting) if heard.outcomes and number not in order]
    assert order == [0, 2, 4, 3, 1]


def test_the_load_table_shortens_budgets_as_requests_pile_up() -> None:
    policy = made("load-table")
    assert policy.observer is not None
    budgets = []
    for now, in_system in enumerate((0, 1, 2, 4, 5, 7, 100, 0)):
        policy.observer.tick(float(now), in_system)
        budgets.append(policy.policy.limits("hard").budget)
    assert budgets == [None, None, 400, 250, 160, 90, 90, None]


@pytest.mark.parametrize(
    ("name", "thresholds", "budgets"),
    [
        ("thresholds-only", {None, 0.97, 0.95, 0.9, 0.8}, {None}),
        ("budgets-only", {None}, {None, 400, 250, 160, 90}),
    ],
)
def test_an_ablation_leaves_the_controller_one_lever(
    name: str, thresholds: set[float | None], budgets: set[int | None]
) -> None:
    policy = made(name).policy
    assert isinstance(policy, Controller)
    assert {(point.threshold, point.budget) for point in policy.certified} == {
        (threshold, budget) for threshold in thresholds for budget in budgets
    }
    for now in range(200):
        policy.tick(float(now), 0 if now < 100 else 500)
        assert all(limits.threshold in thresholds and limits.budget in budgets for limits in policy.status.limits)
    assert policy.status.source is DecisionSource.POLICY_MAP


def test_the_joint_program_s_price_does_not_know_the_number_in_the_system() -> None:
    def prices(source: PriceSource) -> list[float | None]:
        planner = Planner(PROFILE.tables(), clock=time.perf_counter)
        settings = FixedSettings(ControllerSettings(price=source, outer_s=1e6, change=1e6))
        policy = Controller(PROFILE, settings=settings, solver=AtOnce(planner))
        seen = []
        for now, in_system in enumerate((1, 1, 1, 8, 60)):
            policy.tick(float(now), in_system)
            seen.append(policy.status.price)
        assert policy.status.source is (
            DecisionSource.POLICY_MAP if source is PriceSource.POLICY_MAP else DecisionSource.JOINT_PROGRAM
        )
        assert policy.status.problems == ()
        return seen[2:]

    by_map, by_program = prices(PriceSource.POLICY_MAP), prices(PriceSource.JOINT_PROGRAM)
    assert by_map == sorted(by_map, key=float) != by_map[:1] * 3  # type: ignore[arg-type]
    assert by_program == by_program[:1] * 3


@pytest.mark.parametrize("name", [kind for kind in KINDS if needs_profile(find(kind))])
def test_a_policy_that_needs_a_profile_says_so(name: str) -> None:
    with pytest.raises(ProfileError, match=f"policy is {name}, which needs a profile"):
        made(name, profile=None)


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("budget", {}, "policy is budget, which needs one"),
        ("none", {"threshold": 0.9}, r"threshold is 0\.9, but policy is none, which has none"),
        ("fixed", {"agree": 3}, "agree is 3, but policy is fixed, which has none"),
        ("fixed", {"threshold": 1.5}, r"threshold is 1\.5, must lie in \(0, 1\]"),
        ("fixed", {"risk": 0.1}, r"risk is 0\.1, but policy is fixed, which has none"),
        ("load-aware", {"risk": 1.0}, r"risk is 1\.0, must be above 0 and below 1"),
        ("consistency", {"agree": 1}, "agree is 1, must be at least 2"),
        ("consistency", {"every": 0}, "every is 0, must be at least 1"),
        ("margin", {"margin": -0.1}, r"margin is -0\.1, must be finite and at least 0"),
        ("margin", {"margin": float("nan")}, "margin is nan, must be finite"),
        ("margin", {"margin": float("inf")}, "margin is inf, must be finite"),
        ("margin", {"threshold": 0.9}, r"threshold is 0\.9, but policy is margin, which has none"),
        ("fixed", {"margin": 2.0}, r"margin is 2\.0, but policy is fixed, which has none"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind: str, settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        changed(Auto(), kind, settings)


def test_a_server_s_choice_is_no_policy_by_itself() -> None:
    with pytest.raises(ValueError, match="policy is auto, which only a server can resolve"):
        made("auto")


def test_a_stricter_risk_certifies_less_and_a_laxer_one_more() -> None:
    harmed = [[0] * len(PROFILE.budgets), *([12 * i] * len(PROFILE.budgets) for i in range(1, len(PROFILE.thresholds)))]
    profile = replace(PROFILE, certificate=certify(harmed, 600, epsilon=0.05, delta=0.05))
    lowest = []
    for risk in (0.01, 0.05, None, 0.1):
        policy = made("load-aware", profile, risk=risk).policy
        assert isinstance(policy, Controller)
        lowest.append(min(1.0 if point.threshold is None else point.threshold for point in policy.certified))
        assert policy.certificate.epsilon == (risk or 0.05)
    assert lowest == [1.0, 0.97, 0.97, 0.9]


def test_a_risk_that_the_profile_cannot_certify_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"risk is 0.005, for which the profile is too small: 600 .* at least 919"):
        made("load-aware", risk=0.005)


@pytest.mark.parametrize("kind", ["load-aware", "thresholds-only", "budgets-only", "paper", "load-table"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_certificate_of_nothing_makes_no_policy(kind: str, earlier: bool) -> None:
    given = PROFILE.certificate
    seen = evidence(0, given.count, None, given.count, given.delta)
    worthless = replace(
        PROFILE, certificate=certify(given.harmed, given.count, epsilon=0.05, delta=0.05, evidence=seen)
    )
    if earlier:  # without evidence the table of accuracy tells
        nothing = tuple(tuple((0.0,) * len(row) for row in rows) for rows in PROFILE.accuracy)
        worthless = replace(PROFILE, accuracy=nothing)
    told = rf"policy is {kind}, but the profile certifies nothing: the full thought is right for 0\.0% of the questions"
    with pytest.raises(ProfileError, match=told):
        made(kind, worthless)
    if kind != "load-table":
        with pytest.raises(ProfileError, match=told):
            made(kind, worthless, risk=0.04)
