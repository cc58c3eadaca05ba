"""What the bundled profile certifies where no family of questions may pay for another: from its shipped records.

    python -m benchmarks.levers.worst_benchmark --risks 0.03,0.05

Each family's own bound is computed at the certificate's confidence. Nothing is decoded.
"""

from __future__ import annotations

import argparse

import numpy as np

from controller.policies.restricted import within_risk, worst_benchmark
from experiments.calibration.summary import worst_of
from models.profile.corners import certified_range
from models.profile.profile import Profile, profile_of, read_profile
from models.reasoner import bundled_model


def lines(profile: Profile) -> list[str]:
    """Returns each threshold's bounds without a budget, pooled and by benchmark, and what is certified."""
    apart, certificate = profile.benchmarks, profile.certificate
    assert apart is not None
    bounds = apart.bounds(certificate.delta)
    found = [f"threshold  pooled  {'  '.join(apart.names)}"]
    for i, threshold in enumerate(profile.thresholds):
        each = [f"{harmed[i][0]} ({bounds[b, i, 0]:.2%})" for b, harmed in enumerate(apart.harmed)]
        pooled = f"{certificate.harmed[i][0]} ({certificate.bounds[i][0]:.2%})"
        found.append(f"{'none' if threshold is None else f'{threshold:.2f}'}  {pooled}  {'  '.join(each)}")
    return [*found, *worst_of(profile)]


def main() -> None:
    """Command line: prints what is certified at each risk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--risks", default="0.03")
    options = parser.parse_args()
    profile = read_profile(profile_of(bundled_model()))
    print("\n".join(lines(profile)))
    for risk in map(float, options.risks.split(",")):
        anew = within_risk(profile, risk)
        both = worst_benchmark(anew)
        points = [int(np.array(one.certificate.certified).sum()) for one in (anew, both)]
        print(f"risk {risk:g}: pooled {points[0]} points, {certified_range(anew)}")
        print(f"risk {risk:g}: every benchmark {points[1]} points, {certified_range(both)}")


if __name__ == "__main__":
    main()
