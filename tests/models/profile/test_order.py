"""The order in a profile: what it says of itself, and how a file keeps it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.profile.order import LoadOrders
from models.profile.profile import checksum, read_profile, write_profile
from tests.support.model_profile import PROFILE
from tests.support.orders import choice, load, point


def test_a_load_begins_with_first_come_first_served() -> None:
    for points in ((), (point(5.0, 9.0, 20.0),)):
        with pytest.raises(ValueError, match="points must begin with that of first come, first served"):
            LoadOrders(load=1.1, rate=16.0, waited_s=5.0, points=points)


def test_where_nobody_waited_every_head_start_does_as_first_come() -> None:
    quiet, crowded = load(0.5, (0.0, 1.0, 2.0)), load(1.7, (0.0, 10.0, 20.0), (5.0, 8.0, 21.0))
    assert quiet.at(5.0) == quiet.first_come
    assert crowded.at(5.0).mean_s == 8.0


def test_the_reason_tells_the_load_at_which_it_gains_most() -> None:
    made = choice(5.0, load(0.5, (0.0, 1.0, 2.0)), load(1.7, (0.0, 10.0, 20.0), (5.0, 8.0, 21.0)))
    assert made.reason == (
        "simulated at 170% of capacity, a reply takes 8.00 s in the mean instead of 10.00 s first come, first served, "
        "at 1.05 times its 99th percentile"
    )
    assert "no head start of short thoughts pays" in replace(made, head_start_s=0.0).reason


@pytest.mark.parametrize("head_start_s", [-1.0, float("nan"), float("inf")])
def test_a_head_start_that_bounds_nothing_is_refused(head_start_s: float) -> None:
    with pytest.raises(ValueError, match=f"head_start_s is {head_start_s}, must be finite and at least 0"):
        choice(head_start_s)


def test_an_order_is_read_as_it_was_written_and_older_files_have_none(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    profile = replace(PROFILE, order=choice(5.0, load(1.7, (0.0, 10.0, 20.0), (5.0, 8.0, 21.0))))
    write_profile(file, profile)
    assert read_profile(file) == profile
    write_profile(file, PROFILE)
    said = json.loads(file.read_text())
    assert "order" not in said["profile"]
    assert checksum(read_profile(file)) == said["sha256"]
