"""A calibration of the bundled model made by hand: a profile, and the records of its thoughts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.calibration.traces import ClosedReply, ThoughtTrace, TraceLog, questions_sha256, run_questions
from experiments.evaluation.evaluation import Asked
from experiments.evaluation.questions import bundled_questions
from models.chat_model import load_chat_model
from models.profile.difficulty import FEATURES, Difficulty
from models.profile.identity import identify
from models.profile.profile import write_profile
from models.reasoner import bundled_model
from tests.support.analysis_profile import made_profile

COUNT, SEED = 2, 5  # of its questions


def save_calibration(directory: Path, *, files: Sequence[str] | None = None) -> Path:
    """profile.json, and beside it records of thoughts that are sure, and right, from their third paragraph on.

    `files`: what the profile says the questions are from; the records name their questions then. None: neither does.
    """
    file = directory / "profile.json"
    chat = load_chat_model(bundled_model())
    questions = bundled_questions(COUNT, SEED)
    made = replace(
        made_profile(certified_to=5),
        model=identify(bundled_model(), chat.thinking.format),
        score=chat.thinking.format.probe.score.value,
        difficulty=Difficulty(weights=(0.0,) * (2 * FEATURES) + (1.0, 0.0), bounds=(3.2, 3.6)),  # the prompt's length
        provenance={"options": {"count": COUNT, "seed": SEED} | ({} if files is None else {"files": list(files)})},
    )
    write_profile(file, made)
    header = {
        "weights_sha256": made.model.weights_sha256,
        "thinking_sha256": made.model.thinking_sha256,
        **({"questions_sha256": questions_sha256(questions)} if files is None else {}),
        "max_tokens": made.max_tokens,
    }
    paragraph = chat.tokenizer.encode("So 12 + 30 is 42, and that is what we have so far, it seems to me.\n\n")
    suffix = len(chat.thinking.probe_suffix)
    mine = None if files is None else run_questions(questions)
    with TraceLog(file.with_name("profile.json.records.jsonl"), header, mine) as log:
        for number, question in enumerate(questions):
            probes = tuple(
                Asked(
                    thought_tokens=(place + 1) * len(paragraph),
                    beyond=3,
                    answer="42",
                    confidence=0.3 if place < 2 else 0.99,
                    joint=0.3 if place < 2 else 0.99,
                    right=place >= 2,
                    rows=suffix + 2,
                    log_probs=(-0.6, -0.6) if place < 2 else (-0.005, -0.005),
                )
                for place in range(5)
            )
            thought = tuple(paragraph) * 5 + tuple(chat.tokenizer.encode("Done."))
            tokens = len(thought) + 10
            log.add(
                ThoughtTrace(
                    number=number,
                    prompt=chat.prompt([{"role": "user", "content": question.text}]),
                    thought=thought,
                    right=True,
                    tokens=tokens,
                    rows=tokens + 5 * (suffix + 2),
                    probes=probes,
                )
            )
            log.add(ClosedReply(number=number, budget=2 * len(paragraph), right=False, tokens=12))
    return file
