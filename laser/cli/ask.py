"""`laser ask`: asks a running server one question; streams thought and answer, and prints why thinking stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from laser.cli.common.help_pages import EXAMPLE, examples
from laser.cli.common.messages import errors_in_one_line
from laser.cli.common.options import key_option, url_option


@click.command("ask", epilog=examples(f"laser ask '{EXAMPLE}'", f"laser ask --url http://127.0.0.1:8080 '{EXAMPLE}'"))
@click.argument("question")
@url_option
@key_option
def command(question: str, url: str, key: str | None) -> None:
    """Ask a running server QUESTION; `laser serve` starts one.

    Prints the thought (dimmed), the answer, and one line that says why the thinking stopped.
    """
    with errors_in_one_line():
        asyncio.run(_show(question, url, key))


async def _show(question: str, url: str, key: str | None) -> None:
    """Prints a reply as it arrives. Raises AskError."""
    from laser.client import Answer, AskError, End, ThoughtPiece, ask

    last: type | None = None
    try:
        async for piece in ask(url, question, key):
            if last is not None and type(piece) is not last:
                click.echo("\n")
            last = type(piece)
            match piece:
                case ThoughtPiece(text=text):
                    click.secho(text, dim=True, nl=False)
                case Answer(text=text):
                    click.echo(text, nl=False)
                case End():
                    click.secho(why(piece.finish_reason, piece.laser), fg="cyan")
    except AskError:
        if last is not None:
            click.echo()
        raise


def why(finish_reason: str | None, laser: Mapping[str, Any]) -> str:
    """Returns one line: why the thinking stopped, the number of probes and their token rows, and the total time."""
    if not laser:
        return "the server does not say why it stopped"
    parts = [_exit(laser)]
    probes = laser.get("probes")
    if probes:
        parts[0] += f", {probes} probe{'s' * (probes != 1)} ({laser['probe_tokens']} rows)"
    elif laser.get("exit_reason") not in (None, "plain") and laser.get("answer") not in (None, "short"):
        parts.append(f"not probed: the answer is no short one but {laser['answer']}")
    if finish_reason == "length":
        parts.append("the answer was cut at max_tokens")
    if laser.get("total_ms") is not None:
        parts.append(f"{laser['total_ms'] / 1e3:.2f} s")
    return "; ".join(parts)


def _exit(laser: Mapping[str, Any]) -> str:
    tokens = laser.get("reasoning_tokens")
    after = f"after {tokens} token{'s' * (tokens != 1)}"
    match laser.get("exit_reason"):
        case "confidence":
            return f"stopped thinking: confidence {laser['confidence']:.2f} ≥ {laser['threshold']:.2f} {after}"
        case "consistency":
            return f"stopped thinking: its trial answers agreed {after}"
        case "margin":
            return f"stopped thinking: it would nearly have done so itself {after}"
        case "hopeless":
            return f"gave up thinking: only {laser['confidence']:.2f} sure {after}, the best trial is the answer"
        case "price":
            return f"stopped thinking: more was not worth its tokens under the load {after}"
        case "skipped":
            return "answered at once: the prompt was told to need no thought"
        case "budget":
            return f"stopped thinking: its budget of {laser['budget']} tokens was spent"
        case "loop":
            return f"stopped thinking: it went round in circles {after}"
        case "deadline":
            return f"stopped thinking: the time was needed for the answer {after}"
        case "requested":
            return f"stopped thinking: somebody asked for the answer {after}"
        case "natural":
            return f"thought to its end {after}"
        case "plain":
            return "did not think: the model is served plain"
        case str(other):
            return f"stopped thinking: {other} {after}"
        case _:
            return "did not think"
