"""A message says in words that a file was made from other inputs, and shows no hash."""

from __future__ import annotations

import pytest

from models.files.differing import told_apart

ARRIVALS = {"kind": "trace", "file_sha256": "ab" * 32}


@pytest.mark.parametrize(
    ("key", "theirs", "ours", "told"),
    [
        ("max_tokens", 640, 64, "max_tokens 640, the run has 64"),
        ("weights_sha256", "ab" * 32, "cd" * 32, "other weights than the run has"),
        ("index_sha256", "ab" * 32, None, "another index than the run has"),
        (
            "workload",
            ARRIVALS,
            {**ARRIVALS, "file_sha256": "cd" * 32},
            "another file of arrivals for workload than the run has",
        ),
        ("workload", ARRIVALS, {"kind": "poisson"}, 'workload {"kind": "trace"}, the run has {"kind": "poisson"}'),
        ("workload", None, ARRIVALS, 'workload null, the run has {"kind": "trace"}'),
    ],
)
def test_what_differs_is_told_in_words(key: str, theirs: object, ours: object, told: str) -> None:
    assert told_apart(key, theirs, ours, holder="the run") == told
