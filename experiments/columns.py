"""What the columns of our tables mean: one word means one thing in every table of every command.

The same words stand in docs/glossary.md where a newcomer must look them up.
"""

from __future__ import annotations

from collections.abc import Iterable

EVERYDAY = frozenset(
    {
        "",
        "benchmark",
        "engines",
        "failed",
        "model",
        "policy",
        "questions",
        "requests",
        "requests/s",
        "size",
        "stored as",
        "way",
    }
)
"""Heads that need no explanation: everyday words, and what the rows are called."""

_PERCENTILES = "that many per cent of them are lower"
_DIFFERENCES = "in points of a hundred requests"

COLUMNS = {
    "class": "easy, medium or hard: a third of the prompts each, by the length of thought that they let expect",
    # who is right
    "accuracy": "the share that is answered right",
    "all": "the share that is answered right",
    "95 %": "the interval that covers the true value in 95 of 100 such samples",
    "lost": "right with full thought and wrong now",
    "gained": "wrong with full thought and right now",
    "points lost, 95 %": "accuracy lost against full thought, in points of a hundred questions, with its interval; "
    "—: no answer has changed, of which resampling tells no interval",
    "lost, points": "accuracy lost against full thought, in points of a hundred requests, with its 95 % interval",
    "worst benchmark, points lost": "the benchmark that loses most",
    # how long thoughts are
    "thought tokens": "a thought's mean length",
    "p10": _PERCENTILES,
    "p50": _PERCENTILES,
    "p90": _PERCENTILES,
    "p95": _PERCENTILES,
    "p99": _PERCENTILES,
    "longest": "the longest of them",
    "cut": "thoughts that the token limit closed",
    "unended": "replies that the token limit broke off",
    # what thoughts do with their first answer
    "stated": "thoughts that state a first answer before their end",
    "first": "the share of those first answers that is right",
    "final": "the share of the same thoughts' replies that is right",
    "fixed": "first answer wrong, reply right",
    "broken": "first answer right, reply wrong",
    "verification": "the share of such a thought that follows its first answer",
    "before": "places in a thought where it may be closed, before its first answer",
    "after": "such places from there on",
    # what confidence is worth
    "score": "how a trial answer's token probabilities become its confidence",
    "probes": "trial answers that were asked of running thoughts",
    "right": "the share of trial answers that is right",
    "ECE": "by how much confidence differs from the share that is right, in the mean (0 is honest)",
    "AUROC": "how well confidence tells right from wrong (0.5 not at all, 1 always)",
    "probing cost": "what probes decode, as a share of the thought that was still to come",
    # what fits into memory
    "KV cache": "the numbers in which read text is kept; smaller ones than f16 change replies a little",
    "at once": "requests that are decoded together; further ones wait",
    "context": "prompt and reply of each of them, tokens, when all are as long; fewer at once may have more",
    "cells": "tokens of all of them together, `--cells`",
    "MiB": "memory that is taken then: weights, KV cache and what is computed in",
    # what an early exit saves
    "threshold": "a thought is closed once a trial answer is as sure as that",
    "tokens": "all that is decoded for a question or a request, probes counted, in the mean",
    "of probes": "the part of it that probes decode",
    "saved": "the share of full thought's tokens that is spared, probes counted",
    "gross": "the same without the cost of probes",
    "probing": "what probes eat of that saving",
    "closed early": "the share of thoughts that the model did not end itself",
    "reply tokens": "the median length of a reply with full thought",
    "with exits": "the share that is answered right with exits at that threshold",
    # how long people wait
    "latency s": "seconds from arrival to the last token, in the mean",
    "latency": "seconds from arrival to the last token, in the mean",
    "first answer s": "seconds from arrival to the first token of the answer, in the mean",
    "queue s": "seconds until a request begins, in the mean",
    "head start s": "seconds for which a request may be overtaken by later ones whose thoughts are predicted shorter; "
    "0: first come, first served; inf: shortest first",
    "worst": "the longest of them",
    "worst slowdown": "the largest latency over what the request's tokens take alone on the machine",
    "overtaken by s": "by how many seconds later a request came, at most, than one that began after it",
    "in time %": "requests that end within their class's seconds, see “in time” above",
    "goodput /s": "requests a second that end in time",
    "utility": "accuracy less what waiting costs, see “utility” above",
    "speed": "what server and client reached of the profile's speed, whatever took the rest",
    # what a policy changes
    "mean latency %": "the change of the mean latency",
    "in time, points": f"the change of the share that ends in time, {_DIFFERENCES}",
    "accuracy, points": f"the change of accuracy, {_DIFFERENCES}",
    "tokens %": "the change of the tokens that are decoded",
    "utility, points": "the change of utility",
    "of capacity": "requests, as a share of those that the machine could serve with full thoughts",
    "gain, points": "right answers of a hundred requests more than the safe constant's, less what waiting costs, with "
    "the interval that decides (those of all loads hold together): where all of it is below 0, the constant serves",
    # what an analysis computes
    "load": "the tokens a second that are asked for, as a share of what the machine decodes",
    "shed": "the share of requests that is turned away because serving it costs the others more",
    "price": "what waiting for a thousand tokens more costs all users, in right answers",
    "believed": "what the controller takes to be so much smaller or larger than it is",
    "correct": "right answers more or fewer by that belief, in points; a request turned away counts as wrong",
    "latency change": "by how many seconds replies are slower or faster; where the queue grows for ever, the load",
    "overload": "the share of the time in which requests come faster than they can be served",
}  # fmt: skip
"""What each head means."""

ENDS = {
    "natural": "the model closed it",
    "confidence": "a trial answer was sure enough",
    "consistency": "trial answers in a row agreed",
    "margin": "the model nearly closed it",
    "hopeless": "its trial answers were too unsure for its length",
    "price": "by its index more thought was not worth its tokens under the load",
    "skipped": "its prompt was told to need none",
    "budget": "its tokens were spent",
    "loop": "it repeated itself",
    "deadline": "the rest of its time was needed for the answer",
    "requested": "a client asked for the answer",
    "unended": "the reply broke off in the thought",
}
"""Why a thought ended, by exit reason."""


def known(column: str) -> bool:
    """Whether a column's head is an everyday word or is explained here."""
    return column in EVERYDAY or column in COLUMNS


def meanings(columns: Iterable[str], words: dict[str, str] = COLUMNS) -> str:
    """Returns what the columns mean, as one line; "" if all are everyday words. Columns of one meaning share it."""
    told: dict[str, list[str]] = {}
    for column in columns:
        if column in words:
            told.setdefault(words[column], []).append(column)
    return "; ".join(f"{', '.join(names)}: {meaning}" for meaning, names in told.items())
