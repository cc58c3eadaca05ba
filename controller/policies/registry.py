"""Every policy by its kind, and its settings as files and command lines state them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Annotated, Any, TypeAlias, cast, get_type_hints

from controller.policies.definition import PolicySettings
from models.comments import summary
from models.files.nearest import nearest
from models.files.strict_yaml import Kinds, parse
from models.plugins import is_place, load_named

POLICIES: dict[str, str] = {
    "auto": "controller.policies.auto:Auto",
    "load-aware": "controller.policies.load_aware:LoadAware",
    "thresholds-only": "controller.policies.load_aware:ThresholdsOnly",
    "budgets-only": "controller.policies.load_aware:BudgetsOnly",
    "fixed": "controller.policies.fixed:FixedThreshold",
    "budget": "controller.policies.budget:FixedBudget",
    "consistency": "controller.policies.consistency:Agreement",
    "margin": "controller.policies.margin:ClosingMargin",
    "signal": "controller.policies.signal:SignalPolicy",
    "paper": "controller.policies.paper:Paper",
    "load-table": "controller.policies.static_table:StaticTable",
    "no-thinking": "controller.policies.none:NoThinking",
    "none": "controller.policies.none:FullThought",
}
"""Each kind's class, as module:Name; imported when the kind is first used."""

FLAT = ("threshold", "budget", "agree", "margin", "every", "risk", "risk_peak")
"""The settings that files once stated beside `policy`, and that have flags of their own."""


def find(kind: str) -> type[PolicySettings]:
    """Returns the class of a kind, or a user's own class by `module:Name`.

    Raises ValueError if there is no such kind, or if the module or its class cannot be used.
    """
    if kind not in POLICIES and not is_place(kind):
        raise ValueError(f"policy is {kind!r}, must be one of {', '.join(POLICIES)}, or module:Name")
    try:
        found = load_named(POLICIES.get(kind, kind))
    except ValueError as error:
        raise ValueError(f"policy is {kind}, but {error}") from error
    if not (isinstance(found, type) and is_dataclass(found) and found.__dataclass_params__.frozen):  # type: ignore[attr-defined]  # typeshed does not know it
        raise ValueError(f"policy is {kind}, which must be a frozen dataclass, its fields the policy's settings")
    if not callable(getattr(found, "make", None)):
        raise ValueError(f"policy is {kind}, which has no method `make`: it must return the policy")
    return cast("type[PolicySettings]", found)


def kind_of(policy: PolicySettings) -> str:
    """Returns the kind of a policy; of a user's own, `module:Name`."""
    own = type(policy)
    place = f"{own.__module__}:{own.__qualname__}"
    kind = str(getattr(own, "kind", place))
    return kind if POLICIES.get(kind) == place else place


KINDS = Kinds(field="policy", names=POLICIES, find=find, kind_of=kind_of, flat=FLAT, default="auto")

AnyPolicy: TypeAlias = Annotated[PolicySettings, KINDS]
"""As the type of a field, it makes models.files.strict_yaml accept any policy there."""

NAMED = tuple(kind for kind in POLICIES if kind != "auto")
"""The kinds that need no server to choose another one."""

NamedKind: TypeAlias = Annotated[
    PolicySettings, replace(KINDS, names=NAMED, refused={"auto": "which only a server can resolve"})
]
"""As AnyPolicy, but without `auto`."""


def summaries() -> dict[str, str]:
    """Returns what each policy does, by kind: its docstring's first paragraph in one line. Imports all policies."""
    return {kind: summary(find(kind)).rstrip(".") for kind in POLICIES}


def stated(policy: PolicySettings) -> dict[str, Any]:
    """Returns the settings that differ from the policy's defaults."""
    found: Any = policy
    values = {field: getattr(policy, field.name) for field in fields(found)}
    return {
        field.name: value
        for field, value in values.items()
        if value != (field.default if field.default_factory is MISSING else field.default_factory())
    }


def changed(policy: PolicySettings, kind: str | None, settings: Mapping[str, Any]) -> PolicySettings:
    """Returns the policy with other settings, and as another kind if `kind` is not None.

    Settings that differ from the policy's defaults are kept. Raises ValueError for an unknown kind, for a setting that
    the kind does not have, and for an invalid setting.
    """
    own: Any = type(policy) if kind is None else find(kind)
    kind = kind or kind_of(policy)
    given = stated(policy) | dict(settings)
    known = {field.name: field for field in fields(own) if field.init}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{name} is {value}, but policy is {kind}, which has none: drop one of them")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"policy is {kind}, which needs the setting {name}")
    found: PolicySettings = own(**given)
    return found


def from_options(
    policy: PolicySettings, kind: str | None, flags: Mapping[str, Any], assignments: Sequence[str]
) -> PolicySettings:
    """Returns the policy as a command line changes it: `--policy`, the flags of `FLAT`, and `--set name=value`.

    `kind` None: not given. Raises ValueError for an unknown name, with the nearest known one, and where `changed` does.
    """
    own: Any = type(policy) if kind is None else find(kind)
    hints = get_type_hints(own, include_extras=True)
    known = [field.name for field in fields(own) if field.init]
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set is {assignment!r}, must be NAME=VALUE")
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"policy {kind or kind_of(policy)} has no setting {name!r}; {hint}")
        if name in settings:
            raise ValueError(f"--set {name} is given twice, must be given once")
        if name in flags:
            raise ValueError(f"--{name} and --set {name} are given, must be one of them")
        settings[name] = parse(text, hints[name], key=name)
    return changed(policy, kind, {**flags, **settings})
