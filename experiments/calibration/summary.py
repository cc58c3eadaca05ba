"""Formats a profile as text for the terminal."""

from __future__ import annotations

from models.profile.profile import Profile


def summary(profile: Profile) -> str:
    """Returns the measurements and the certified range as text."""
    plant, certificate = profile.plant, profile.certificate
    step = plant.step_time
    return "\n".join(
        [
            f"Difficulty, told from the prompt ({profile.explained:.0%} of the variance of log length)",
            f"{'by true length':<20}" + "".join(f"{'told ' + name:>14}" for name in profile.classes),
            *(
                f"{name:<20}" + "".join(f"{count:>14}" for count in row)
                for name, row in zip(profile.classes, profile.confusion, strict=True)
            ),
            "",
            f"{'class':<10}{'questions':>10}{'accuracy':>10}{'tokens':>8}   with full thought",
            *(
                f"{name:<10}{count:>10}{accuracy[0][0]:>10.1%}{tokens[0][0]:>8.0f}"
                for name, count, accuracy, tokens in zip(
                    profile.classes, profile.counts, profile.accuracy, profile.tokens, strict=True
                )
            ),
            "",
            f"Certified on {certificate.count} questions, risk at most {certificate.epsilon:g} at confidence "
            f"{1 - certificate.delta:g}: {certified_range(profile)}",
            *_evidence(profile),
            "",
            f"Step: {1e3 * step.a:.2f} ms + ({1e6 * step.c:.0f} us + {1e9 * step.g:.0f} ns per cached token) per "
            f"sequence, to {plant.error:.0%}; up to {plant.max_batch} sequences, mean context {plant.context:.0f}",
            f"Probe: {profile.probe.rows:.1f} token rows, {1e3 * profile.probe.seconds:.2f} ms",
        ]
    )


def _evidence(profile: Profile) -> list[str]:
    """Tells why a certificate is refused, and how often exits answer otherwise, which the risk tells in part only."""
    if profile.refused is not None:
        return [f"NOT CERTIFIED: {profile.refused}. `laser serve` will not shorten thoughts by this profile."]
    bound = profile.certificate.differing
    if bound is None:
        return ["Exits that answer otherwise than the full thought: not recorded; without its records it is measured"]
    return [
        f"Certified exits that answer otherwise than the full thought, rightly or wrongly: for at most {bound:.1%} of "
        "the questions, at the same confidence"
    ]


def certified_range(profile: Profile) -> str:
    """Describes the certified thresholds and budgets: each corner that no other corner covers."""
    if profile.refused is not None:
        return "none but the full thought"
    table = profile.certificate.certified
    corners = []
    for j in range(len(profile.budgets)):
        lax = sum(row[j] for row in table) - 1  # certified points come first in each column
        laxer_budget = j + 1 < len(profile.budgets) and table[lax][j + 1]
        if lax >= 0 and not laxer_budget and (lax, j) != (0, 0):
            threshold, budget = profile.thresholds[lax], profile.budgets[j]
            corners.append(
                (f"thresholds down to {threshold:.2f}" if threshold is not None else "no early exit")
                + (f" with budgets from {budget} tokens" if budget is not None else " without a budget")
            )
    return "; ".join(corners) or "none but the full thought"
