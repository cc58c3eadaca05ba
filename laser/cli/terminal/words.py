"""Numbers and reasons in words, worded as on the dashboard page."""

from __future__ import annotations

from collections.abc import Collection

from controller.serving.request import ExitReason
from controller.serving.status import EndedRequest, Stage
from engine.base import FinishReason
from laser.server.controller_report import LimitsReport, RiskReport
from laser.server.dashboard.schema import Latency, Status
from models.profile.savings import Gained, Saved

EXITS: dict[str, str] = {
    ExitReason.CONFIDENCE: "were sure",
    ExitReason.HOPELESS: "were given up",
    ExitReason.PRICE: "were worth no more tokens",
    ExitReason.SKIPPED: "needed none",
    ExitReason.BUDGET: "had spent their budget",
    ExitReason.NATURAL: "thought to their end",
    ExitReason.CONSISTENCY: "had probes that agreed",
    ExitReason.MARGIN: "were nearly at their end",
    ExitReason.DEADLINE: "ran out of time",
    ExitReason.LOOP: "went round in circles",
    ExitReason.REQUESTED: "were ended on request",
}


def clean(text: str) -> str:
    """Replaces characters that would move the cursor or change the terminal by spaces."""
    return "".join(each if each.isprintable() else " " for each in text)


def account(risk: RiskReport) -> tuple[str, str, str]:
    """Returns the name of the account of risk, the mean charge so far, and what is saved."""
    saved = f"{number(risk.left)} of {number(risk.most)} saved, price {risk.price:.2g}"
    return "Risk", f"{risk.charged:.2%} of {risk.risk:.2%}", saved


def number(value: float) -> str:
    """Formats about three significant digits."""
    size = abs(value)
    return f"{value:.2f}" if size < 10 else f"{value:.1f}" if size < 100 else f"{value:.0f}"


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{number(value)} s"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def many(count: int, one: str, more: str | None = None) -> str:
    """Formats a count and its noun; plural `more`, None: `one` + s."""
    return f"{count} {one if count == 1 else more or f'{one}s'}"


def threshold(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def budget(value: int | None) -> str:
    return "none" if value is None else str(value)


def why_ended(one: EndedRequest) -> str:
    """Says why a request's thought ended."""
    if one.finish_reason is FinishReason.ERROR:
        return "failed"
    match one.exit_reason:
        case ExitReason.CONFIDENCE:
            return f"sure: {one.confidence or 0.0:.2f} ≥ {threshold(one.threshold)}"
        case ExitReason.HOPELESS:
            return f"given up: {one.confidence or 0.0:.2f} sure after {one.thought_tokens} tokens"
        case ExitReason.PRICE:
            return f"more was not worth its tokens: {one.confidence or 0.0:.2f} sure after {one.thought_tokens}"
        case ExitReason.SKIPPED:
            return "needed no thought"
        case ExitReason.BUDGET:
            return f"its budget of {one.budget} was spent"
        case ExitReason.NATURAL:
            return "thought to its end"
        case ExitReason.CONSISTENCY:
            return "its probes agreed"
        case ExitReason.MARGIN:
            return "nearly at its end"
        case ExitReason.DEADLINE:
            return "its time was up"
        case ExitReason.LOOP:
            return "it went round in circles"
        case ExitReason.REQUESTED:
            return "ended on request"
        case str(other):
            return clean(other)
    return "cut off at max_tokens" if one.finish_reason is FinishReason.LENGTH else "did not think"


def exits(latency: Latency) -> str:
    """Says how many thoughts ended for which reason."""
    said = [f"{count} {EXITS.get(name, clean(name))}" for name, count in latency.exits.items()]
    if latency.failed:
        said.append(f"{latency.failed} failed")
    return ", ".join(said)


def queue(status: Status) -> str:
    """Describes the load and the queue."""
    load = status.load
    said = [f"{load.running} decoded, {load.waiting} waiting"]
    if load.waiting:
        said.append(f"the last begins in {seconds(status.drain_s)}")
    if status.turned_away:
        said.append(f"{status.turned_away} turned away")
    return "; ".join(said)


def gained(found: Gained | None) -> list[str]:
    """Says what was saved, one line against each other way of serving; empty: there is no estimate."""
    if found is None:
        return []
    ways = [("full thought", found.full_thought)]
    if found.fixed is not None:
        ways.append((f"a fixed threshold of {threshold(found.fixed_threshold)}", found.fixed))
    counted = many(found.replies, "reply", "replies")
    return [f"Estimated over {counted}, against {way}: {_saved(saved, found.level)}" for way, saved in ways]


def _saved(saved: Saved, level: float) -> str:
    tokens = f"{_amount(saved.tokens_low)} to {_amount(saved.tokens_high)}"
    decoding = f"{number(saved.seconds_low)} to {number(saved.seconds_high)}"
    return (
        f"{_amount(saved.tokens)} tokens saved, {share(saved.share)} ({share(level)} sure: {tokens} tokens), and "
        f"{number(saved.seconds)} s of decoding ({decoding} s)"
    )


def _amount(value: float) -> str:
    """Formats a large number, with three significant digits at most."""
    digits = max(0, len(f"{abs(value):.0f}") - 3)
    return f"{round(value, -digits):,.0f}"


def sentence(status: Status) -> str:
    """Summarises what the server does."""
    if not status.running and not status.latency.requests:
        return "Nothing runs. Ask something with laser ask, or send requests to this server."
    thinking = sum(each.stage is Stage.THINKING for each in status.running)
    waiting = status.load.waiting
    held = many(waiting, "request waits", "requests wait") if waiting else "none waits"
    return f"{many(thinking, 'thought runs', 'thoughts run')}, {held}. {_rule(status.controller.limits.values())}."


def _rule(limits: Collection[LimitsReport]) -> str:
    """Says when these limits close a thought, and whether some prompts get none."""
    skips = any(each.skip is not None for each in limits)
    return f"{_closing(limits)}{'; prompts that need none are answered at once' if skips else ''}"


def _closing(limits: Collection[LimitsReport]) -> str:
    all_of_them = [each.threshold for each in limits]
    bounds = sorted(each for each in all_of_them if each is not None)
    race = "; several thoughts of a prompt race while places are idle" if any(each.width > 1 for each in limits) else ""
    if not bounds:
        if any(each.agree is not None for each in limits):
            return "Thoughts are closed once their probes agree"
        if any(each.margin is not None for each in limits):
            return "Thoughts are closed once they are nearly at their end"
        if names := sorted({clean(name) for each in limits for name in each.exits}):
            return f"Thoughts are closed once {' or '.join(names)} says so"
        if any(each.index is not None for each in limits):
            return "Thoughts are closed once more of them is not worth its tokens"
        return f"Thoughts are not probed now{race}"
    low, high = threshold(bounds[0]), threshold(bounds[-1])
    sure = f"{low} sure" if low == high else f"{low} to {high} sure, by class"
    rest = "; some classes are not probed" if len(bounds) < len(all_of_them) else ""
    hopeless = "; hopeless ones are given up" if any(each.give_up is not None for each in limits) else ""
    return f"Thoughts are closed once they are {sure}{rest}{hopeless}{race}"
