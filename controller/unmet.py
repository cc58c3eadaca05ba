"""Which of the operator's goals no point in use reaches, and what is served instead."""

from __future__ import annotations

from collections.abc import Iterator

from controller.planning.objective import ObjectiveSettings
from models.profile.profile import Profile
from models.profile.tables import OperatingPoint, OperatingTables


def unmet(profile: Profile, wishes: ObjectiveSettings, *, certified_only: bool = True) -> tuple[str, ...]:
    """Returns a sentence for each class whose accuracy floor or SLO is out of reach, however low the load is.

    Out of reach is what no thought alone reaches: races have room at times only. `certified_only`: whether the points
    in use are the certified ones, else they are all. Raises ValueError if the goals are not of the profile's classes.
    """
    tables = profile.tables(certified_only=certified_only).alone()
    return (*_floors(profile, tables, wishes), *_slos(profile, tables, wishes))


def _floors(profile: Profile, tables: OperatingTables, wishes: ObjectiveSettings) -> Iterator[str]:
    if not wishes.accuracy_floors:
        return
    for name, floor, accuracy in zip(profile.classes, wishes.accuracy_floors, tables.accuracy, strict=True):
        best = int(accuracy.argmax())
        if accuracy[best] < floor:
            point = _words(tables.points[best])
            yield (
                f"accuracy_floors is {floor:g} for {name}, which no point in use reaches: the best is {point}, with "
                f"{accuracy[best]:.3f} on the profile's questions; it serves {name} but in an overload"
            )


def _slos(profile: Profile, tables: OperatingTables, wishes: ObjectiveSettings) -> Iterator[str]:
    if not wishes.slo_s:
        return
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
