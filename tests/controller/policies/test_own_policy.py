"""A policy of a user's own: one file, by module:Name or by one line of the registry, is a policy like all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.policies.auto import Auto
from controller.policies.definition import AdaptivePolicy, PolicyContext
from controller.policies.registry import POLICIES, changed, find, from_options, kind_of, summaries
from controller.serving.request import ExitReason
from laser.cli.main import main
from laser.server.config import ServeConfig, load_config
from models.files.strict_yaml import ConfigError
from models.profile.profile import Profile
from tests.support.calibrations import save_calibration
from tests.support.serving_bench import ENDLESS, Bench
from tests.support.toy_policy import Halving

OWN = "tests.support.toy_policy:Halving"
Chain = Callable[..., Bench]


def no_controller(_profile: Profile) -> AdaptivePolicy:
    raise AssertionError("the toy has no controller")


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that makes the toy a policy of the house."""
    monkeypatch.setitem(POLICIES, "halving", OWN)


def test_an_own_policy_closes_thoughts_in_the_real_loop(chain: Chain) -> None:
    settings = from_options(Auto(), OWN, {}, ["budget=20", "above=.5"])
    assert settings == Halving(budget=20, above=0.5)
    made = settings.make(PolicyContext(profile=None, max_batch=4, controller=no_controller))
    bench = chain(ENDLESS, policy=made.policy, observer=made.observer)
    alone = bench.ask(max_tokens=90).outcome.thought
    assert alone is not None
    assert (alone.exit_reason, alone.tokens) == (ExitReason.BUDGET, 20)
    several = [bench.submit(max_tokens=90)[1] for _ in range(4)]
    bench.run()
    assert all(one.outcome.thought is not None and one.outcome.thought.tokens == 10 for one in several)


def test_an_own_policy_is_simulated(tmp_path: Path) -> None:
    profile = save_calibration(tmp_path)
    said = ["simulate", "--profile", str(profile), "--rate", "2", "--duration", "20", "--policy", OWN]
    result = CliRunner().invoke(main, [*said, "--set", "budget=90", "--set", "above=99"])
    assert result.exit_code == 0, result.output
    assert f"Simulated, {OWN}" in result.output
    assert "budget 100.0%" in result.output


@pytest.mark.usefixtures("registered")
def test_one_line_of_the_registry_names_an_own_policy(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("policy: {kind: halving, budget: 30}\n")
    config = load_config(file, {"assignments": ("above=2",)})
    assert config.policy == Halving(budget=30, above=2.0)
    assert kind_of(config.policy) == "halving"
    assert summaries()["halving"] == "Halves the budget once there are more requests than a batch holds"
    for command in ("serve", "simulate"):
        said = " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())
        assert "halving: Halves the budget once there are more requests than a batch holds." in said
        assert "fixed: Stops a thought once its confidence reaches one threshold, and at a budget if given." in said


def test_a_file_names_an_own_policy_by_module_and_name(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(f'policy: {{kind: "{OWN}", budget: 30}}\n')
    config = load_config(file, {})
    assert config == ServeConfig(policy=Halving(budget=30))
    assert kind_of(config.policy) == OWN  # nobody has registered it under its own kind
    file.write_text(f'policy: {{kind: "{OWN}", bugdet: 30}}\n')
    with pytest.raises(ConfigError, match=r"serve\.yaml:1:\d+: unknown key `policy\.bugdet`; did you mean `budget`\?"):
        load_config(file, {})


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("lenient", r"policy is 'lenient', must be one of auto, load-aware, .*, none, or module:Name"),
        (":Halving", r"policy is ':Halving', must be one of auto"),
        ("nowhere.at.all:Halving", "there is no module 'nowhere.at.all': it must be installed or on PYTHONPATH"),
        ("tests.support.toy_policy:Doubling", "module 'tests.support.toy_policy' has no 'Doubling'"),
        ("tests.support.toy_policy:Undecorated", "must be a frozen dataclass"),
        ("tests.support.toy_policy:Halved", "must be a frozen dataclass"),
        ("tests.support.toy_policy:Unmade", "has no method `make`"),
    ],
)
def test_what_is_no_policy_is_told_in_one_line(tmp_path: Path, kind: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        find(kind)
    assert "\n" not in str(refused.value)
    file = tmp_path / "serve.yaml"
    file.write_text(f'port: 1\npolicy: "{kind}"\n')
    with pytest.raises(ConfigError, match=r"serve\.yaml:2:\d+: `policy`"):
        load_config(file, {})
    result = CliRunner().invoke(main, ["serve", "--policy", kind])
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_a_module_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needy_policy.py").write_text("import nowhere_at_all\n")
    (tmp_path / "odd_policy.py").write_text("def\n")
    with pytest.raises(ValueError, match="module 'needy_policy' cannot be imported: No module named 'nowhere_at_all'"):
        find("needy_policy:Any")
    with pytest.raises(ValueError, match="module 'odd_policy' cannot be imported: invalid syntax"):
        find("odd_policy:Any")


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["treshold=.9"], "policy fixed has no setting 'treshold'; did you mean 'threshold'"),
        (["zeal=1"], "policy fixed has no setting 'zeal'; it has threshold, budget, every"),
        (["threshold"], "--set is 'threshold', must be NAME=VALUE"),
        (["threshold=high"], "`threshold` is 'high', must be of type float"),
        (["every=1.5"], r"`every` is '1\.5', must be of type int"),
        (["every={"], "`every` is '{', which is not YAML"),
        (["threshold=2"], r"threshold is 2\.0, must lie in \(0, 1\]"),
        (["every=3", "every=4"], "--set every is given twice"),
        (["budget=3"], "--budget and --set budget are given, must be one of them"),
    ],
)
def test_set_takes_the_settings_of_a_policy_by_name_and_type(assignments: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        from_options(Auto(), "fixed", {"budget": 9}, assignments)
    found = from_options(Auto(), "fixed", {"budget": 9}, ["threshold=.95", "every=null"])
    assert found == changed(Auto(), "fixed", {"threshold": 0.95, "budget": 9})


def test_a_flag_keeps_what_the_file_has_set() -> None:
    file = changed(Auto(), "consistency", {"agree": 4, "budget": 100})
    assert changed(file, None, {"budget": 200}) == changed(Auto(), "consistency", {"agree": 4, "budget": 200})
    assert changed(Auto(threshold=0.8), "fixed", {}) == changed(Auto(), "fixed", {"threshold": 0.8})
    with pytest.raises(ValueError, match="agree is 4, but policy is fixed, which has none"):
        changed(file, "fixed", {})
