"""Figure of the Pareto fronts, with the fixed points marked."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from experiments.analysis.fronts import Front, Fronts, LatencyFront
from experiments.analysis.plots.canvas import BLUE, DARK, GREEN, MUTED, ORANGE, RED, canvas, percent, roomy, save
from experiments.analysis.situation import Situation

STYLES = {
    "constant": ("one setting for all classes", MUTED, "-", 5.0),
    "threshold": ("a threshold for each class", BLUE, "--", 3.2),
    "joint": ("threshold and budget for each class", ORANGE, "-", 1.8),
}
MARKERS = {"full thought": ("*", DARK, 15), "fixed 0.90": ("v", GREEN, 9), "fixed 0.95": ("D", RED, 8)}
GAIN = 0.99  # a title claims a gain only if at most this share of the tokens or seconds remains
POINT = 0.01  # of accuracy
ONLY = "Nothing but the full thought is in use"
OTHER = ("^", BLUE, 9)  # marker of any other fixed point


def draw_fronts(path: Path, one: Situation, found: Fronts) -> None:
    """Draws accuracy against tokens, and against mean latency at up to three of the rates."""
    figure = canvas("What does accuracy cost, in tokens and in waiting?", 13, 9.5)
    panels = figure.subplots(2, 2).ravel()
    _tokens(panels[0], found)
    count = len(found.rates)
    shown = sorted({0, count // 2, count - 1})
    for panel, number in zip(panels[1:], shown, strict=False):
        _latency(panel, found, number)
    for panel in panels[1 + len(shown) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save(figure, path)


def _tokens(axes: Axes, found: Fronts) -> None:
    full, joint = found.fixed[0], found.joint
    axes.set(title=_gain(full.tokens, full.accuracy, joint), xlabel="tokens per request", ylabel="accuracy")
    for name, (label, colour, style, width) in STYLES.items():
        front: Front = getattr(found, name)
        axes.plot(front.tokens, front.accuracy, style, color=colour, linewidth=width, label=label)
        axes.plot(front.tokens, front.accuracy, "o", color=colour, markersize=width + 1.5)
    for fixed in found.fixed:
        marker, colour, size = MARKERS.get(fixed.name, OTHER)
        label = fixed.name if fixed.usable else f"{fixed.name}, not certified"
        fill = colour if fixed.usable else "none"
        axes.plot(
            fixed.tokens, fixed.accuracy, marker, color=colour, markersize=size, markerfacecolor=fill, label=label
        )
    roomy(axes, [*found.joint.accuracy, *(fixed.accuracy for fixed in found.fixed)], 0.02)
    percent(axes)
    axes.grid(color="#ececec")


def _gain(tokens: float, accuracy: float, joint: Front) -> str:
    if len(joint.tokens) == 1 and joint.tokens[0] == tokens:
        return ONLY
    same = joint.tokens_at(accuracy)
    if same is None:
        return f"Full thought stays the most accurate, {accuracy:.1%}"
    if same > GAIN * tokens and (less := joint.tokens_at(max(accuracy - POINT, joint.accuracy[0]))) is not None:
        return f"A point less accuracy than full thought takes {1.0 - less / tokens:.0%} fewer tokens"
    return f"As accurate as full thought, with {1.0 - same / tokens:.0%} fewer tokens"


def _latency(axes: Axes, found: Fronts, number: int) -> None:
    rate = found.rates[number]
    full = found.fixed[0]
    joint = found.latency["joint"][number]
    axes.set(title=_wait(rate, full.latency_s[number], full.accuracy, joint))
    axes.set(xlabel="mean seconds from arrival to answer", ylabel="accuracy")
    accuracies: list[float] = []
    for name, (_, colour, style, width) in STYLES.items():
        front = found.latency[name][number]
        axes.plot(front.latency_s, front.accuracy, style, color=colour, linewidth=width)
        if len(set(front.accuracy)) == 1:
            axes.plot(front.latency_s, front.accuracy, "o", color=colour, markersize=width + 1.5)
        accuracies += front.accuracy
    missing = []
    for fixed in found.fixed:
        seconds = fixed.latency_s[number]
        marker, colour, size = MARKERS.get(fixed.name, OTHER)
        if seconds is None:
            missing.append(fixed.name)
        else:
            fill = colour if fixed.usable else "none"
            axes.plot(seconds, fixed.accuracy, marker, color=colour, markersize=size, markerfacecolor=fill)
            accuracies.append(fixed.accuracy)
    if accuracies:
        roomy(axes, accuracies, 0.02)
    else:
        axes.set(xticks=[], yticks=[])
    if missing:
        axes.annotate(
            "cannot keep up: " + ", ".join(missing), (0.98, 0.03), xycoords="axes fraction", ha="right", color=RED
        )
    percent(axes)
    axes.grid(color="#ececec")


def _wait(rate: float, full: float | None, accuracy: float, joint: LatencyFront) -> str:
    at = f"{rate:g} requests/s"
    if len(joint.latency_s) == 1 and joint.latency_s[0] == full:
        return f"{at}: {full:.2f} s. {ONLY}"
    if not joint.latency_s:
        return f"{at}: no setting keeps up, requests must be turned away"
    alike = [seconds for seconds, has in zip(joint.latency_s, joint.accuracy, strict=True) if has >= accuracy - 1e-9]
    if full is None:
        if alike:
            return f"{at}: full thought is overloaded, this is as accurate in {min(alike):.2f} s"
        return f"{at}: full thought is overloaded, {max(joint.accuracy):.1%} remain"
    if not alike:
        return f"{at}: full thought takes {full:.2f} s, nothing else is as accurate"
    if min(alike) > GAIN * full:
        near = [s for s, has in zip(joint.latency_s, joint.accuracy, strict=True) if has >= accuracy - POINT]
        return f"{at}: a point less accuracy takes {min(near):.2f} s instead of {full:.2f} s"
    return f"{at}: as accurate as full thought, {min(alike):.2f} s instead of {full:.2f} s"
