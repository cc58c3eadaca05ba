"""Installs a measured reasoner as the bundled model: weights, records, profile, and the measured part of its card."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.reasoner.aims import AIMS, RECORDS_MB, SAMPLED, SAMPLES
from benchmarks.reasoner.asking import AskedReasoner
from benchmarks.reasoner.card import filled, measured_part
from benchmarks.reasoner.evidence import evidence
from benchmarks.reasoner.replies import replies_header
from benchmarks.reasoner.report import ReasonerReport, reasoner_report, write_report
from benchmarks.reasoner.size import CARD, MEGABYTE, model_files, sizes
from experiments.calibration.races.sampled import SampledReply, log_lines
from experiments.calibration.traces import HEAD, CalibrationLog, records_of
from experiments.progress import Reporter
from laser.cli.calibrate import command as calibrate
from laser.server.config import BUNDLED_NAME
from models.errors import LaserError
from models.files.appended import json_line
from models.files.replacement import replacing
from models.profile.identity import identify
from models.profile.profile import ProfileError, profile_of, read_profile
from models.reasoner import bundled_model

THOUGHTS, REPLIES, FIGURES = "thoughts.jsonl.xz", "replies.jsonl.xz", "measured.json"
FITTING = ("parameters", "weights", "head")  # aims without which a model is no bundled one
CALIBRATED = 1_000  # questions of each family

Samples = Mapping[str, list[SampledReply]]  # by the question's key


class ShippingError(LaserError, ValueError):
    """A reasoner cannot be shipped; the message names what is missing or does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedPlaces:
    """Where a reasoner is installed."""

    weights: Path  # directory of the model
    records: Path  # directory of its records
    bundled: bool = False  # whether it is where LASER looks for its own model


def bundled_places() -> ShippedPlaces:
    """Returns where the bundled model is."""
    return ShippedPlaces(weights=bundled_model(), records=bundled_model().with_name("records"), bundled=True)


def ship(
    asked: AskedReasoner,
    log: CalibrationLog,
    samples: Samples,
    places: ShippedPlaces,
    reporter: Reporter,
    *,
    calibrated: int = CALIBRATED,
) -> ReasonerReport:
    """Installs a reasoner, calibrates it there if it has no profile yet, and returns its figures.

    Whether model, records and card fit is known before anything is replaced, but for the size of the profile's own
    records. A run that was ended goes on when it is run again. `calibrated`: questions of each family that the
    calibration asks. Raises ShippingError, CardError or another LaserError that names what does not fit.
    """
    check_size(asked.directory)
    check_whole(asked, log, samples)
    reporter.note("Figures")
    told = reasoner_report(asked, evidence(asked, log, samples))
    card = filled(places.weights / CARD, measured_part(told, date=datetime.now(UTC).date().isoformat()))
    reporter.note("Packing records")
    packed = {THOUGHTS: pack(thought_lines(asked, log)), REPLIES: pack(reply_lines(asked, samples))}
    check_records({name: len(data) for name, data in packed.items()})
    install(asked.directory, places.weights)
    of_profile = calibrate_there(asked, places, calibrated)
    check_records({of_profile.name: of_profile.stat().st_size, **{name: len(data) for name, data in packed.items()}})
    places.records.mkdir(exist_ok=True)
    for name, data in packed.items():
        _write(places.records / name, data)
    write_report(places.records / FIGURES, told)
    _write(places.weights / CARD, card.encode())
    return told


# --- what fits ------------------------------------------------------------------------------------------------------


def check_size(directory: Path) -> None:
    """Raises ShippingError if a model is too large for a bundled one, or has another head dimension."""
    found = sizes(directory)
    for aim in AIMS:
        if aim.name in FITTING and not aim.met(value := found[aim.name].value):
            bar = f"{aim.high:g}" if aim.low == aim.high else f"at most {aim.high:g}"
            raise ShippingError(f"{directory}: {aim.says}: {value:g} {aim.unit}, must be {bar}")


def check_whole(asked: AskedReasoner, log: CalibrationLog, samples: Samples) -> None:
    """Raises ShippingError if a question lacks its full thought, its answer without thought or its sampled replies."""
    for number, question in enumerate(asked.questions):
        what = None
        if number not in log.traces:
            what = "full thought"
        elif (number, 0) not in log.closings:
            what = "answer without thought"
        if what is not None:
            raise ShippingError(f"question {number} ({question.text[:40]!r}) has no recorded {what}: go on recording")
    for key in sampled_keys(asked):
        if len(samples.get(key, ())) != SAMPLES:
            many = len(samples.get(key, ()))
            raise ShippingError(f"question {key[:8]} has {many} sampled replies, must have {SAMPLES}: go on recording")


def check_records(megabytes: Mapping[str, int]) -> None:
    """Raises ShippingError if files of these sizes, bytes, are more than all records may take."""
    total = sum(megabytes.values()) / MEGABYTE
    if total > RECORDS_MB:
        told = ", ".join(f"{name} {size / MEGABYTE:.1f}" for name, size in megabytes.items())
        raise ShippingError(f"the records take {total:.1f} MB, may take at most {RECORDS_MB}: {told}")


# --- records --------------------------------------------------------------------------------------------------------


def sampled_keys(asked: AskedReasoner) -> list[str]:
    """Returns the keys of the questions whose sampled replies ship: the first SAMPLED of each family."""
    counts: dict[str, int] = {}
    found = []
    for question in asked.questions:
        counts[question.benchmark] = counts.get(question.benchmark, 0) + 1
        if counts[question.benchmark] <= SAMPLED:
            found.append(question.key)
    return found


def thought_lines(asked: AskedReasoner, log: CalibrationLog) -> Iterator[bytes]:
    """Yields the lines of a log of full thoughts and answers without thought, in the questions' order."""
    yield json_line({**asdict(HEAD), **asked.header})
    for number, one in sorted(log.traces.items()):
        yield json_line({"trace": asdict(one), "question": asked.keys.keys[number]})
    for _, closing in sorted(log.closings.items()):
        yield json_line({"closing": asdict(closing)})


def reply_lines(asked: AskedReasoner, samples: Samples) -> Iterator[bytes]:
    """Yields the lines of a log of the sampled replies that ship."""
    return log_lines(replies_header(asked), (one for key in sampled_keys(asked) for one in samples[key]))


def pack(lines: Iterable[bytes]) -> bytes:
    """Returns lines as an xz file."""
    return lzma.compress(b"".join(lines), preset=9)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as draft:
        draft.write_bytes(data)


# --- the model ------------------------------------------------------------------------------------------------------


def install(source: Path, target: Path) -> None:
    """Makes the model in `target` the one in `source`; card and profile stay."""
    if source.resolve() == target.resolve():
        return
    mine = model_files(source)
    for file in model_files(target):
        if file.name not in {one.name for one in mine}:
            file.unlink()
    for file in mine:
        shutil.copyfile(file, target / file.name)


def calibrate_there(asked: AskedReasoner, places: ShippedPlaces, count: int) -> Path:
    """Has `laser calibrate` measure the installed model, unless it has a profile of the same cap; returns its records.

    The records are packed then.
    """
    path = profile_of(places.weights)
    plain = path.with_name(f"{path.name}.records.jsonl")
    packed = plain.with_name(f"{plain.name}.xz")
    identity = identify(places.weights, asked.chat.thinking.format)
    try:
        found = read_profile(path, identity)
        named = not places.bundled or found.model.name == BUNDLED_NAME
        there = named and found.max_tokens == asked.max_tokens and records_of(path).exists()
    except ProfileError:
        there = False
    if not there:
        packed.unlink(missing_ok=True)
        if plain.exists() and not _is_of(plain, identity.weights_sha256):
            plain.unlink()
        of = [] if places.bundled else ["--model", str(places.weights)]
        calibrate.main([*of, "-n", str(count), "--max-tokens", str(asked.max_tokens)], standalone_mode=False)
    if plain.exists():
        _write(packed, pack([plain.read_bytes()]))
        plain.unlink()
    return packed


def _is_of(records: Path, weights_sha256: str) -> bool:
    with records.open("rb") as file:
        return weights_sha256.encode() in file.readline()
