"""Prints easy sums as JSON Lines, for models that know little: `python -m benchmarks.support.sums > sums.jsonl`."""

from __future__ import annotations

import argparse
import json
import random

FORMS = ("What is {a} + {b}?", "Add {a} and {b}.", "I have {a} apples and get {b} more. How many apples do I have?")


def main() -> None:
    """Command line: print questions and answers, all different."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.support.sums", description=__doc__)
    parser.add_argument("-n", type=int, default=220, help="questions, at most 243")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    every = [(form, a, b) for form in FORMS for a in range(1, 10) for b in range(1, 10)]
    for form, a, b in random.Random(options.seed).sample(every, options.n):
        print(json.dumps({"question": form.format(a=a, b=b), "answer": str(a + b)}))


if __name__ == "__main__":
    main()
