"""Trials that an earlier release has stored count, as long as their policies are what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.trials.experiment import NamedPolicy, read_experiment
from experiments.trials.store import Store, StoreError
from experiments.trials.trial import described

TEXT = """\
backend: live
seeds: [1, 2]
duration_s: 30
workloads:
  - name: steady
    arrivals: {kind: poisson, rate: 4}
policies:
  - {name: full, policy: none}
  - {name: ours, policy: load-aware, controller: {outer_s: 2}}
  - {name: bounded, policy: {kind: load-aware, risk: 0.02}}
  - {name: thresholds, policy: thresholds-only}
baseline: full
full_thought: full
slo_s: {easy: 1, medium: 2, hard: 3}
"""
STORED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "support" / "stored_policies.json").read_text(encoding="utf-8")
)["policies"]
"""The policies of TEXT, as the headers of commit 02da0210 describe them."""


def policies(directory: Path, text: str = TEXT) -> dict[str, NamedPolicy]:
    """Returns an experiment's policies by name."""
    file = directory / "experiment.yaml"
    file.write_text(text, encoding="utf-8")
    return {policy.name: policy for policy in read_experiment(file).policies}


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: str(stored["name"]))
def test_a_stored_trial_of_an_earlier_release_is_found_again(tmp_path: Path, stored: dict[str, Any]) -> None:
    store = Store(tmp_path / "results")
    with store.writing("a", {"policy": stored}, {}):
        pass
    assert store.has("a", {"policy": described(policies(tmp_path)[stored["name"]])})


@pytest.mark.parametrize(
    "new",
    [
        "policy: load-aware, controller: {outer_s: 2, memory: true}",
        "policy: load-aware, controller: {outer_s: 2, account: {worth: 0.5}}",
        "policy: {kind: load-aware, worst_benchmark: true}, controller: {outer_s: 2}",
    ],
)
def test_but_not_for_a_policy_that_does_what_came_later(tmp_path: Path, new: str) -> None:
    store = Store(tmp_path / "results")
    (stored,) = (one for one in STORED if one["name"] == "ours")
    with store.writing("a", {"policy": stored}, {}):
        pass
    changed = TEXT.replace("policy: load-aware, controller: {outer_s: 2}", new)
    with pytest.raises(StoreError, match="was run with"):
        store.has("a", {"policy": described(policies(tmp_path, changed)["ours"])})
