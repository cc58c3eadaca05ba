"""Make a synthetic reasoner, tell what it comes to, and write its profile.

python -m experiments.synthetic --curve pessimistic --out runs/pessimistic.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.calibration.summary import summary
from experiments.synthetic.curves import Curve, Synthetic
from experiments.synthetic.reasoner import reasoner
from experiments.synthetic.summary import table, told
from models.profile.profile import write_profile


def main() -> None:
    """Runs the command line that the module's docstring describes."""
    parser = argparse.ArgumentParser(prog="python -m experiments.synthetic", description=__doc__)
    parser.add_argument("--curve", type=Curve, required=True, help=" or ".join(Curve))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=300, help="of each of four benchmarks")
    parser.add_argument("--out", type=Path, help="the profile, for `laser analyze --profile`")
    options = parser.parse_args()
    try:
        which = Synthetic(curve=options.curve, seed=options.seed, questions=options.questions)
        made = reasoner(which)
        print(f"{which.name}: made from published figures\n\n{table(told(made))}\n\n{summary(made.profile)}")
        if options.out is not None:
            write_profile(options.out, made.profile)
            print(f"\nProfile: {options.out}")
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
