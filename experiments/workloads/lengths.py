"""Lengths of the prompts, thoughts and answers of production requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from experiments.workloads.recorded import check_file, rows
from experiments.workloads.workload import WorkloadError

Counts = npt.NDArray[np.int64]

COLUMNS = ("input_tokens", "output_tokens", "reasoning_tokens")  # of ServeGen's tables of lengths


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lengths:
    """The lengths of a sample of requests, tokens, [request]."""

    prompt: Counts
    thought: Counts
    answer: Counts

    def draw(self, count: int, rng: np.random.Generator) -> Lengths:
        """Draws `count` requests of the sample uniformly, with replacement."""
        chosen = rng.integers(self.prompt.size, size=count)
        return Lengths(prompt=self.prompt[chosen], thought=self.thought[chosen], answer=self.answer[chosen])


def read_lengths(path: Path) -> Lengths:
    """Reads the lengths in a CSV file with ServeGen's columns, whose output is thought and answer together.

    Raises WorkloadError if the file or a row is invalid.
    """
    check_file(path)
    found = []
    for number, row in rows(path):
        where = f"{path}:{number}"
        if missing := [name for name in COLUMNS if name not in row]:
            raise WorkloadError(f"{where}: has no {missing[0]!r}, but {', '.join(map(repr, row))}")
        try:
            prompt, output, thought = (int(row[name]) for name in COLUMNS)
        except (TypeError, ValueError) as error:
            raise WorkloadError(f"{where}: must have whole numbers of tokens: {error}") from None
        if not (prompt >= 1 and 0 <= thought <= output):
            raise WorkloadError(
                f"{where}: {prompt} input, {output} output and {thought} reasoning tokens, must be at least 1 input "
                "and no more reasoning than output"
            )
        found.append((prompt, thought, output - thought))
    if not found:
        raise WorkloadError(f"{path}: has no lengths")
    table = np.array(found, dtype=np.int64)
    return Lengths(prompt=table[:, 0], thought=table[:, 1], answer=table[:, 2])
