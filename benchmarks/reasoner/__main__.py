"""Command line: `python -m benchmarks.reasoner VERB`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import click

from benchmarks.reasoner.aims import COUNT, SAMPLED
from benchmarks.reasoner.asked_forms import FORMED, count_forms, form_line
from benchmarks.reasoner.asking import ReasonerPart, asked_reasoner, part
from benchmarks.reasoner.evidence import evidence, read_samples, read_thoughts
from benchmarks.reasoner.replies import record_replies
from benchmarks.reasoner.report import reasoner_report, tables, write_report
from benchmarks.reasoner.ship import bundled_places, ship
from benchmarks.reasoner.thoughts import record_closed_answers, record_full_thoughts
from laser.cli.common.messages import errors_in_one_line, progress

ASKING = {
    "thoughts": "record greedy full thoughts, with all probes",
    "direct": "answer the questions of recorded thoughts without thought, into the same file",
    "replies": "sample replies at a temperature",
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reasoner", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, told in ASKING.items():
        asking = verbs.add_parser(verb, help=told)
        count = SAMPLED if verb == "replies" else COUNT
        asking.add_argument("--out", type=Path, required=True, metavar="FILE", help="goes on from what it holds")
        if verb == "direct":
            told = "thought tokens; 0: none at all"
            asking.add_argument("--budgets", type=int, nargs="+", default=[0], metavar="N", help=told)
        else:
            asking.add_argument("--part", type=part, default=ReasonerPart(), metavar="1/2", help="of the questions")
        _add_common(asking, count)
    measuring = verbs.add_parser("measure", help="hold what was recorded against the aims")
    _add_common(measuring, COUNT)
    _add_records(measuring)
    measuring.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON")
    shipping = verbs.add_parser("ship", help="install the model as the bundled one, with records, profile and card")
    _add_common(shipping, COUNT)
    _add_records(shipping)
    forms = verbs.add_parser("forms", help="count replies in the form asked for: a chat's second question, JSON")
    _add_common(forms, FORMED)
    arguments = parser.parse_args()
    doing = {"measure": measure, "ship": install, "forms": in_forms}.get(arguments.verb, ask)
    try:
        with errors_in_one_line():
            doing(arguments)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _add_common(parser: argparse.ArgumentParser, count: int) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("-n", type=int, default=count, help="questions of each family; the same for all parts")


def _add_records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thoughts", type=Path, nargs="+", required=True, metavar="FILE", help="of all parts")
    parser.add_argument("--replies", type=Path, nargs="*", default=[], metavar="FILE", help="of all parts")


def ask(arguments: argparse.Namespace) -> None:
    """Runs a verb that asks the model."""
    asked = asked_reasoner(arguments.model, arguments.n)
    match arguments.verb:
        case "thoughts":
            record_full_thoughts(asked, arguments.part, arguments.out, progress())
        case "direct":
            record_closed_answers(asked, arguments.out, arguments.budgets, progress())
        case _:
            record_replies(asked, arguments.part, arguments.out, progress())


def measure(arguments: argparse.Namespace) -> None:
    """Prints the figures of what was recorded, and writes them."""
    asked = asked_reasoner(arguments.model, arguments.n)
    samples = read_samples(asked, arguments.replies)
    told = reasoner_report(asked, evidence(asked, read_thoughts(asked, arguments.thoughts), samples))
    click.echo(tables(told))
    if arguments.out is not None:
        write_report(arguments.out, told)


def in_forms(arguments: argparse.Namespace) -> None:
    """Prints how many replies come in the form that is asked for."""
    for found in count_forms(arguments.model, arguments.n):
        click.echo(form_line(found))


def install(arguments: argparse.Namespace) -> None:
    """Installs the model, and prints its figures."""
    asked = asked_reasoner(arguments.model, arguments.n)
    log, samples = read_thoughts(asked, arguments.thoughts), read_samples(asked, arguments.replies)
    click.echo(tables(ship(asked, log, samples, bundled_places(), progress())))


if __name__ == "__main__":
    main()
