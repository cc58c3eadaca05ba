"""What a client says of the time it has, in headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from laser.errors import BadRequest

MOST_MS = 86_400_000  # a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Service level objectives of one request; None: not stated."""

    ttft_s: float | None = None  # to the first token: one that would wait longer is turned away at once
    tpot_s: float | None = None  # for each further token; counts beside a ttft only
    deadline_s: float | None = None  # to the last token: the thought is cut in time for the answer

    def by_s(self, reply_tokens: int, deadline_ms: int | None) -> float | None:
        """By when the reply is to be complete: the earliest of the deadlines stated, and what ttft and tpot come to.

        A tpot alone bounds nothing: a deadline counts from the arrival on, and the wait for the first token is unknown.
        """
        paced_s = None if self.ttft_s is None or self.tpot_s is None else self.ttft_s + self.tpot_s * reply_tokens
        stated_s = None if deadline_ms is None else deadline_ms / 1e3
        return min((limit for limit in (self.deadline_s, stated_s, paced_s) if limit is not None), default=None)


def read_slo(headers: Mapping[str, str]) -> Slo:
    """The objectives in a request's headers. Raises BadRequest, naming the header."""
    return Slo(
        ttft_s=_seconds(headers, "x-slo-ttft-ms"),
        tpot_s=_seconds(headers, "x-slo-tpot-ms"),
        deadline_s=_seconds(headers, "x-slo-deadline-ms"),
    )


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = 0.0
    if not 0.0 < milliseconds <= MOST_MS:
        raise BadRequest(f"{name} is {given!r}, must be a number above 0 and at most {MOST_MS}", param=name)
    return milliseconds / 1e3
