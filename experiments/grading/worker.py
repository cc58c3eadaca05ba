"""Decides with math-verify whether answers are right: a process that reads pairs and writes verdicts, a line each.

A pair is a JSON list of answer and gold; a verdict is true, false, or a text that says why there is none. The first
line is the text "ready", or why there is no math-verify. The file is run by its path and imports nothing of ours.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import warnings
from typing import Any

SMALL, NEAR = 1e-4, 1e-6  # numbers that are compared in proportion, and how near is the same
MEMORY = 4 << 30  # bytes of address space: powers of powers ask for more


def main() -> None:
    """Answers pairs until stdin ends. `argv[1]`: CPU time, s, after which a pair ends this process."""
    limit_s = float(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this process ends
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    try:
        from math_verify import parse

        parse(r"\boxed{1}", parsing_timeout=None)  # what is slow once is done before the first pair
    except ImportError as error:
        _say(f"math-verify cannot be loaded: {error}")
        return
    _say("ready")
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, limit_s)  # its default action ends a process without the interpreter
        try:
            verdict: bool | str = _same(*json.loads(line))
        except Exception as error:
            verdict = f"{type(error).__name__}"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        _say(verdict)


def _same(answer: str, gold: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    found, wanted = (
        parse(f"\\boxed{{{text}}}", config, fallback_mode="no_fallback", parsing_timeout=None)
        for text in (answer, gold)
    )
    return (
        bool(found and wanted)
        and bool(verify(wanted, found, timeout_seconds=None, allow_set_relation_comp=True, raise_on_error=True))
        and _near(found[0], wanted[0])
    )


def _near(found: Any, wanted: Any) -> bool:
    """Whether small numbers are near in proportion: math-verify rounds to six decimals, and 10^-19 to nothing."""
    if not (getattr(found, "is_number", False) and getattr(wanted, "is_number", False)):
        return True
    mine, theirs = abs(found.evalf()), abs(wanted.evalf())
    if min(mine, theirs) >= SMALL:
        return True
    return bool(abs((found - wanted).evalf()) <= NEAR * max(mine, theirs) or (found - wanted).equals(0))


def _say(said: bool | str) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
