"""Tabulates races in a profile from replies that were sampled to its own questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.policy import UNLIMITED
from engine.base import Engine
from experiments.calibration.races.sampled import RepliesError, ReplyDraws, SampledReply, read_drawn, record_samples
from experiments.calibration.races.width import raced_questions, rules, with_width
from experiments.calibration.traces import ThoughtTrace
from experiments.evaluation.evaluation import evaluation_loop
from experiments.progress import Reporter
from experiments.question import Question
from models.chat_model import ChatModel
from models.errors import LaserError
from models.generation import GenerationDefaults
from models.profile.difficulty import learn
from models.profile.profile import Profile

SEED = 3  # draws the replies
USUAL = 0.7  # temperature of rivals where the model's own is 0


class UnfitForWidth(LaserError, ValueError):
    """Races cannot be measured for a model; the message says why."""


def replies_of(profile: Path) -> Path:
    """Returns where the replies lie that were sampled for a profile."""
    return profile.with_name(f"{profile.name}.replies.jsonl")


def asked_temperature(defaults: GenerationDefaults) -> float:
    """Returns the temperature of requests that set none. Raises UnfitForWidth if they are drawn by more than that."""
    usual = GenerationDefaults()
    for name in ("top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        if getattr(defaults, name) != getattr(usual, name):
            raise UnfitForWidth(
                f"the model's requests are drawn with {name} at {getattr(defaults, name):g}, must be by their "
                f"temperature alone, {name} at {getattr(usual, name):g}, for their thoughts to race"
            )
    return defaults.temperature


def draws_for(chat: ChatModel, width: int, max_tokens: int) -> ReplyDraws:
    """Returns how the replies to each question are sampled. Raises UnfitForWidth as `asked_temperature` does."""
    temperature = asked_temperature(chat.defaults) or USUAL
    return ReplyDraws(temperature=temperature, seed=SEED, samples=width, max_tokens=max_tokens)


def record_rivals(
    engine: Engine,
    chat: ChatModel,
    questions: Sequence[tuple[str, Question]],
    draws: ReplyDraws,
    profile: Path,
    header: Mapping[str, object],
    reporter: Reporter,
    *,
    at_once: int,
) -> None:
    """Samples the replies that the file beside the profile lacks. Raises as `record_samples` does.

    `header`: what the records must be of.
    """
    record_samples(
        lambda: evaluation_loop(engine, chat, UNLIMITED),
        chat,
        questions,
        draws,
        replies_of(profile),
        draws.header(header),
        reporter,
        at_once=at_once,
    )


def sampled_to(
    keys: Sequence[str], file: Path, header: Mapping[str, object], width: int
) -> tuple[float, list[list[SampledReply]]]:
    """Returns the temperature and the first `width` replies to each question that lie beside a profile's file.

    Raises RepliesError if the replies cannot be used or are too few.
    """
    temperature, replies = read_drawn(replies_of(file), header)
    mine: dict[str, dict[int, SampledReply]] = {}
    for one in replies:
        mine.setdefault(one.question, {})[one.sample] = one
    samples = [[found[k] for k in sorted(found)[:width]] for found in (mine.get(key, {}) for key in keys)]
    if (fewest := min(map(len, samples))) < width:
        raise RepliesError(
            f"{replies_of(file)}: a question has {fewest} sampled replies, must have {width}: `laser calibrate --width "
            f"{width}` samples them"
        )
    return temperature, samples


def widened(
    profile: Profile,
    chat: ChatModel,
    traces: Sequence[ThoughtTrace],
    keys: Sequence[str],
    file: Path,
    header: Mapping[str, object],
    width: int,
) -> Profile:
    """Returns the profile with races up to `width` tabulated, of the replies beside its file.

    `traces`, `keys`: the calibration's questions, in their order. Raises RepliesError if the replies cannot be used,
    are too few, or were sampled at another temperature than the model's requests are now, UnfitForWidth as
    `asked_temperature` does.
    """
    asked = asked_temperature(chat.defaults)
    temperature, samples = sampled_to(keys, file, header, width)
    if asked and asked != temperature:  # greedy requests have a first thought of their own
        raise RepliesError(
            f"{replies_of(file)}: the replies were sampled at a temperature of {temperature:g}, and the model's "
            f"requests are drawn at {asked:g}: `laser calibrate --width {width}` samples others once it is gone"
        )
    told = learn([one.prompt for one in traces], [max(1, len(one.thought)) for one in traces]).observed
    tried = rules(temperature, asked, range(2, width + 1))
    return with_width(profile, raced_questions(traces, samples), told, tried)
