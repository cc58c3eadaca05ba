"""Which of the operator's goals no certified point of a profile reaches, and what is served instead."""

from __future__ import annotations

from collections.abc import Iterator

from controller.planning.objective import ObjectiveSettings
from models.profile.profile import Profile
from models.profile.tables import OperatingPoint


def unmet(profile: Profile, wishes: ObjectiveSettings) -> tuple[str, ...]:
    """Returns a sentence for each class whose accuracy floor or SLO is out of reach, however low the load is.

    Raises ValueError if the goals are not of the profile's classes.
    """
    return (*_floors(profile, wishes), *_slos(profile, wishes))


def _floors(profile: Profile, wishes: ObjectiveSettings) -> Iterator[str]:
    if not wishes.accuracy_floors:
        return
    tables = profile.tables()
    for name, floor, accuracy in zip(profile.classes, wishes.accuracy_floors, tables.accuracy, strict=True):
        best = int(accuracy.argmax())
        if accuracy[best] < floor:
            point = _words(tables.points[best])
            yield (
                f"accuracy_floors is {floor:g} for {name}, which no point in use reaches: the best is {point}, with "
                f"{accuracy[best]:.3f} on the profile's questions; it serves {name} but in an overload"
            )


def _slos(profile: Profile, wishes: ObjectiveSettings) -> Iterator[str]:
    if not wishes.slo_s:
        return
    tables = profile.tables()
    assert tables.p95_steps is not None  # a profile's tables have them
    alone = profile.plant_model().rate(1)
    for name, slo_s, steps in zip(profile.classes, wishes.slo_s, tables.p95_steps, strict=True):
        best = int(steps.argmin())
        if steps[best] > slo_s * alone:
            point = _words(tables.points[best])
            yield (
                f"slo_s is {slo_s:g} for {name}, which no point in use reaches: the quickest is {point}, with which "
                f"95 % end within {steps[best] / alone:.3g} s where the engine has nothing else to do; it serves "
                f"{name} at any load, unless accuracy_floors forbid it"
            )


def _words(point: OperatingPoint) -> str:
    said = [
        *([] if point.threshold is None else [f"threshold {point.threshold:g}"]),
        *([] if point.budget is None else [f"budget {point.budget}"]),
        *([] if point.give_up is None else ["hopeless thoughts given up"]),
        *([] if point.price is None else [f"a price of {point.price:.2g} a row"]),
        *([] if point.skip is None else [f"no thought from a score of {point.skip:g}"]),
        *([] if point.race is None else [f"{point.width} thoughts"]),
    ]
    return " with ".join(said) or "the full thought"
