"""Workloads in YAML files, alone and as a part of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.workloads import AnyWorkload, Diurnal, FlashCrowd, Gamma, Mmpp, Poisson, Step, Trace, read_workload
from models.files.strict_yaml import ConfigError, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    workloads: tuple[AnyWorkload, ...]
    last: AnyWorkload | None = None


def write(directory: Path, text: str) -> Path:
    path = directory / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_kind_picks_the_workload(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("TIMESTAMP\n1\n2\n")
    plan = read(
        write(
            tmp_path,
            "workloads:\n- {kind: poisson, rate: 2}\n- {rate: 1.5, cv: 4, kind: gamma}\n- {kind: mmpp, rate: 1}\n"
            "- {kind: step, rate: 1, factor: 2, at_s: 3}\n- {kind: diurnal, rate: 1}\n"
            "- {kind: flash-crowd, rate: 1, peak: 4, at_s: 9}\n- {kind: trace, path: t.csv}\n",
        ),
        Plan,
    )
    assert plan.workloads == (
        Poisson(rate=2.0),
        Gamma(rate=1.5, cv=4.0),
        Mmpp(rate=1.0),
        Step(rate=1.0, factor=2.0, at_s=3.0),
        Diurnal(rate=1.0),
        FlashCrowd(rate=1.0, peak=4.0, at_s=9.0),
        Trace(path=tmp_path / "t.csv"),
    )
    assert plan.last is None
    assert read_workload(write(tmp_path, "kind: poisson\nrate: 0.5\n")) == Poisson(rate=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "workloads:\n- {rate: 2}\n",
            r"plan.yaml:2:\d+: `workloads\[0\].kind` is missing, must be one of poisson, gamma",
        ),
        ("workloads:\n- {kind: fish, rate: 2}\n", r"`workloads\[0\].kind` is 'fish', must be one of poisson, gamma"),
        ("workloads:\n- {kind: [a], rate: 2}\n", r"`workloads\[0\].kind` is a sequence, must be one of"),
        ("workloads:\n- {kind: poisson, kind: gamma}\n", r"`workloads\[0\].kind` is given twice"),
        ("workloads:\n- {kind: gamma, rat: 2, cv: 3}\n", r"unknown key `workloads\[0\].rat`; did you mean `rate`\?"),
        ("workloads:\n- {kind: poisson}\n", r"`workloads\[0\].rate` is missing"),
        ("workloads:\n- {kind: poisson, rate: -1}\n", r"`workloads\[0\]`: rate is -1.0, must be finite and above 0"),
        ("workloads:\n- {kind: trace, path: gone.csv}\n", "gone.csv: there is no such file"),
        ("workloads:\n- poisson\n", r"`workloads\[0\]` must be a mapping of keys to values"),
    ],
)
def test_a_workload_that_is_none_is_named_with_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(write(tmp_path, text), Plan)
