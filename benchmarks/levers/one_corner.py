"""What it costs that a controller keeps to one certified corner, by the tables of the bundled profile.

    python -m benchmarks.levers.one_corner --risks 0.01,0.03,0.1

The loss is of the best mixture at a token's price, in points of right answers for all classes: the worst over the
prices at which some class goes to the next point, and the mean. Where only tokens count, a request takes the fewest
that there are, so many more than without a corner. The bound is of what all certified points let a request
meet together. Nothing is decoded.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from controller.policies.restricted import with_levers, within_one_corner, within_risk
from models.profile.corners import certified_range
from models.profile.lever import Lever
from models.profile.profile import Profile, profile_of, read_profile
from models.profile.tables import OperatingTables, turning_prices
from models.reasoner import bundled_model

RISKS = "0.01,0.02,0.03,0.05,0.08,0.1,0.15,0.2"


def losses(profile: Profile, kept: Profile) -> npt.NDArray[np.float64]:
    """Returns the right answers a request that `kept` loses at each price at which a class turns."""
    whole, one = profile.tables(), kept.tables()
    prices = turning_prices(whole)
    shares = np.array(profile.counts) / sum(profile.counts)

    def worth(tables: OperatingTables) -> npt.NDArray[np.float64]:
        best = [(tables.accuracy - price * tables.tokens).max(axis=1) for price in prices]
        return np.array(best) @ shares

    return worth(whole) - worth(one)


def fewest(profile: Profile) -> float:
    """Returns the mean tokens of a request where every class has its cheapest point."""
    return float(np.average(profile.tables().tokens.min(axis=1), weights=profile.counts))


def joint_bound(profile: Profile) -> float:
    """Returns the upper bound of the risk of what all certified points let a request meet together."""
    rows, columns = np.nonzero(np.array(profile.certificate.certified))
    return profile.certificate.bounds[int(rows.max())][int(columns.max())]


def main() -> None:
    """Command line: prints a line for each risk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--risks", default=RISKS)
    parser.add_argument("--levers", default="", help="in use beside thresholds and budgets, as give-up,no-thought")
    options = parser.parse_args()
    measured = read_profile(profile_of(bundled_model()))
    levers = [Lever(name) for name in options.levers.split(",") if name]
    for risk in map(float, options.risks.split(",")):
        profile = with_levers(within_risk(measured, risk), levers)
        kept = within_one_corner(profile)
        lost = 100.0 * losses(profile, kept)
        points = [len(one.tables().points) for one in (kept, profile)]
        more = fewest(kept) / fewest(profile) - 1.0
        together = f"all together are bounded by {joint_bound(profile):.1%}, the corner by {joint_bound(kept):.1%}"
        print(
            f"risk {risk:.2f}: {points[0]:2d} of {points[1]:2d} points, {certified_range(kept)}: loses "
            f"{lost.max():.2f} points at worst, {lost.mean():.2f} in the mean, takes {more:.1%} more tokens at least"
            + (f"; {together}" if not levers else "")
        )


if __name__ == "__main__":
    main()
