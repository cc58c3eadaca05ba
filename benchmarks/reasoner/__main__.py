"""Command line: `python -m benchmarks.reasoner VERB`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.reasoner.aims import COUNT, SAMPLED
from benchmarks.reasoner.asking import ReasonerPart, asked_reasoner, part
from benchmarks.reasoner.replies import record_replies
from benchmarks.reasoner.thoughts import record_direct_answers, record_full_thoughts
from laser.cli.common.messages import errors_in_one_line, progress


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reasoner", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, told, count in (
        ("thoughts", "record greedy full thoughts, with all probes", COUNT),
        ("direct", "answer the questions of recorded thoughts without thought, into the same file", COUNT),
        ("replies", "sample replies at a temperature", SAMPLED),
    ):
        asking = verbs.add_parser(verb, help=told)
        asking.add_argument("--model", type=Path, required=True, metavar="DIR")
        asking.add_argument("-n", type=int, default=count, help="questions of each family; the same for all parts")
        asking.add_argument("--out", type=Path, required=True, metavar="FILE", help="goes on from what it holds")
        if verb != "direct":
            asking.add_argument("--part", type=part, default=ReasonerPart(), metavar="1/2", help="of the questions")
    arguments = parser.parse_args()
    with errors_in_one_line():
        ask(arguments)


def ask(arguments: argparse.Namespace) -> None:
    """Runs a verb that asks the model."""
    asked = asked_reasoner(arguments.model, arguments.n)
    if arguments.verb == "thoughts":
        record_full_thoughts(asked, arguments.part, arguments.out, progress())
    elif arguments.verb == "direct":
        record_direct_answers(asked, arguments.out, progress())
    else:
        record_replies(asked, arguments.part, arguments.out, progress())


if __name__ == "__main__":
    main()
