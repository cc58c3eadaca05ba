"""One frame of the terminal view: renders a status in the space available."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from controller.serving.status import EndedRequest, RunningRequest, Stage
from laser.cli.terminal.chart import Band, Series, chart
from laser.cli.terminal.feed import Connection, Look
from laser.cli.terminal.legend import VIEW, legend
from laser.cli.terminal.words import (
    account,
    budget,
    clean,
    exits,
    gained,
    many,
    number,
    queue,
    seconds,
    sentence,
    share,
    threshold,
    why_ended,
)
from laser.server.controller_report import LimitsReport
from laser.server.dashboard.schema import Status

WIDE, NARROW = 110, 64  # columns: from WIDE on tables stand side by side, below NARROW less is shown
WIDEST = 1_000  # columns of an output that is no terminal
CHART = 6  # lines
ROWS = 12  # of a table if the height is unlimited
STYLES = {"easy": "green", "medium": "yellow", "hard": "blue"}  # by class
STATES = {Connection.LIVE: "green", Connection.POLLING: "yellow", Connection.LOST: "red", Connection.ONCE: "dim"}
BAR = 8  # columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Renders a look at a server; fits the console's height if the console has one."""

    look: Look
    url: str
    note: str = ""  # the caller's, for the first line
    keys: str = ""  # the keys that may be pressed, for the first line
    explained: bool = False  # what figures and columns mean is shown in place of the tables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, status = options.max_width, self.look.status
        height = console.height if console.is_alt_screen else options.height  # rich's Live does not pass its height on
        line = _wrapped if height is None else _line
        top: list[tuple[int, RenderableType]] = [(1, self._head() if height is None else _cut(self._head()))]
        if self.look.why is not None and self.look.connection is not Connection.LIVE:
            top.append((1, line(f"{self.look.why}; trying again", "red")))
        top += [(1, line(problem, "red")) for problem in status.problems]
        top.append((1, line(sentence(status), "bold")))
        saved = gained(status.gained)
        top += [(1, line(said)) for said in (saved if height is None else saved[: (height - 10) // 7])]
        if self.explained:
            yield from (each for _, each in top)
            yield from ("", legend(VIEW))
            return
        if status.controller.note and height is None:
            top.append((1, line(f"policy {status.controller.policy}: {status.controller.note}", "dim")))
        top.append(_facts(status, width))
        if width >= NARROW and (height is None or height >= 34):
            top += [(1, ""), (CHART + 1, _charts(status, width))]
        top += [(1, ""), _classes(status, width)]
        left = 2 * ROWS + 5 if height is None else max(0, height - sum(lines for lines, _ in top))
        for _, each in top:
            yield each
        # beside each other they show all columns from 2 * NARROW on: a frame of any height cuts nothing
        yield from _tables(status, width, left, beside=width >= (2 * NARROW + 2 if height is None else WIDE))
        if height is None:
            yield from ("", legend(VIEW))

    def _head(self) -> Text:
        status, state = self.look.status, self.look.connection
        parts = [
            ("LASER", "bold"),
            (clean(status.model), ""),
            (f"policy {status.controller.policy}", ""),
            (state.value, STATES[state]),
            (self.note, "bold magenta"),
            (self.url, "dim"),
            (self.keys, "dim"),
        ]
        return Text("  ").join(Text(text, style) for text, style in parts if text)


def whole_width(frame: Frame, console: Console) -> int:
    """Returns the least width, of the console's and wider ones, at which nothing of a frame is cut; at most WIDEST."""

    def cut(width: int) -> int:
        options = console.options.update(width=width, height=None)
        lines = console.render_lines(frame, options, pad=False)
        return sum(segment.text.count("…") for line in lines for segment in line)

    own = cut(WIDEST)  # what is left is in the words themselves
    return next((width for width in range(console.width, WIDEST, 8) if cut(width) == own), WIDEST)


def _line(text: str, style: str = "") -> Text:
    return _cut(Text(clean(text), style))


def _wrapped(text: str, style: str = "") -> Text:
    return Text(clean(text), style)


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _grid(columns: int) -> Table:
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    return grid


def _facts(status: Status, width: int) -> tuple[int, Table]:
    """Returns the key figures as a table, and the table's number of lines."""
    now = status.history[-1]
    latency, price, controller = status.latency, status.controller.prices, status.controller
    token_price = price.token_now if price else None
    judged = sum(one.requests for one in latency.slo.values())
    slo = f"of {judged}, by class below" if judged else "nothing has ended yet" if status.slo_s else "none is set"
    facts = [
        (
            "Arrivals",
            f"{number(now.rate.value)} ± {number(now.rate.sigma)} /s" if now.rate else f"{number(now.counted_rate)} /s",
            f"estimate; counted {number(now.counted_rate)}" if now.rate else "counted; nothing is estimated",
        ),
        (
            "In the system",
            str(status.load.running + status.load.waiting),
            queue(status),
        ),
        (
            "Mean latency",
            seconds(latency.mean_s),
            f"95 % below {seconds(latency.p95_s)}; {status.window_s / 60:.0f} min",
        ),
        ("Within SLO", share(latency.within_slo), slo),
        (
            "Shadow price",
            "–" if token_price is None else f"{1000 * token_price:.2g}",
            "no price is known" if token_price is None else "answers per 1,000 tokens",
        ),
        ("Decided by", clean(controller.rung or controller.policy), _cache(status)),
    ]
    facts += [] if controller.risk is None else [account(controller.risk)]
    if width < NARROW:
        table = _grid(2)
        for name, value, _ in facts:
            table.add_row(Text(name, "dim"), Text(value, "bold"))
        return len(facts), table
    across = 6 if width >= 160 else 3
    table = _grid(across)
    for start in range(0, len(facts), across):
        row = facts[start : start + across]
        table.add_row(*(Text.assemble((f"{name} ", "dim"), (value, "bold cyan")) for name, value, _ in row))
        table.add_row(*(Text(more, "dim") for _, _, more in row))
    return 2 * -(-len(facts) // across), table


def _cache(status: Status) -> str:
    load = status.load
    reserved = f"; {share(load.cells_reserved / load.cells_total)} of the cache" if load.cells_total else ""
    return f"{many(load.probing, 'probe')} beside{reserved}"


def _charts(status: Status, width: int) -> Table:
    """Returns two charts: arrival rates with the estimate's ± σ band, and thresholds by class."""
    half = (width - 6) // 2
    points = status.history
    rates = [point.rate for point in points]
    counted = Series(values=[point.counted_rate for point in points], style="dim", mark="·")
    estimate = Series(values=[None if rate is None else rate.value for rate in rates], style="cyan")
    band = Band(
        low=[None if rate is None else max(0.0, rate.value - rate.sigma) for rate in rates],
        high=[None if rate is None else rate.value + rate.sigma for rate in rates],
        style="cyan dim",
    )
    columns = max(1, half - 6)
    shown = [value for line in (counted.values, band.high) for value in line[-columns:] if value is not None]
    top = max(1.0, *shown) * 1.05
    names = list(points[-1].limits)
    lines = [
        Series(
            values=[
                None
                if (limit := point.limits.get(name)) is None
                else 1.0
                if limit.threshold is None
                else limit.threshold
                for point in points
            ],
            style=STYLES.get(name, "cyan"),
        )
        for name in names
    ]
    least = min((value for line in lines for value in line.values[-columns:] if value is not None), default=1.0)
    low = max(0.0, int(10 * least - 1e-9) / 10) if least < 0.9 else 0.9
    table = _grid(2)
    limits = points[-1].limits
    table.add_row(
        Text.assemble(("Load", "bold"), (" /s  ", "dim"), ("━ estimate ░ ± σ ", "cyan"), ("· counted", "dim")),
        Text.assemble(
            ("Threshold", "bold"),
            (" 1: never ", "dim"),
            *((f"━ {name} {threshold(limits[name].threshold)} ", STYLES.get(name, "cyan")) for name in names),
        ),
    )
    table.add_row(
        chart([counted, estimate], width=half, height=CHART, low=0.0, high=top, band=band),
        chart(lines, width=half, height=CHART, low=low, high=1.0, decimals=2),
    )
    return table


def _classes(status: Status, width: int) -> tuple[int, Table]:
    """Returns a table of the limits in force and the SLO for each class, and the table's number of lines."""
    columns: list[tuple[str, int]] = [("Class", 0), ("Threshold", 0), ("Budget", 0), ("SLO", 0), ("Within", 0)]
    columns += [("Goes to", NARROW), ("Planned accuracy", NARROW)]
    shown = [place for place, (_, least) in enumerate(columns) if width >= least]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for place in shown:
        table.add_column(columns[place][0], no_wrap=True)
    controller, latency = status.controller, status.latency
    others = [name for name in latency.slo if name not in controller.limits]
    for name in (*controller.limits, *others):
        limits = controller.limits.get(name)
        target = (controller.target or {}).get(name)
        slo_s = status.slo_s.get(name, status.slo_s.get("any"))
        one = latency.slo.get(name)
        accuracy = controller.expected.accuracy.get(name) if controller.expected else None
        cells = [
            name,
            "" if limits is None else threshold(limits.threshold),
            "" if limits is None else budget(limits.budget),
            "–" if slo_s is None else f"{slo_s:g} s",
            "–" if one is None else f"{share(one.within)} of {one.requests}",
            "" if target is None or target == limits else _limits(target),
            "" if accuracy is None else share(accuracy),
        ]
        table.add_row(*(clean(cells[place]) for place in shown), style=STYLES.get(name, ""))
    return 1 + table.row_count, table


def _limits(limits: LimitsReport) -> str:
    return f"{threshold(limits.threshold)}, {budget(limits.budget)}"


def _tables(status: Status, width: int, lines: int, *, beside: bool) -> list[RenderableType]:
    """Returns tables of running thoughts and of those that ended last, which fit in `lines`; empty: no room."""
    rows = lines - 3 if beside else (lines - 6) // 2  # a blank line, a title and a header per table
    if rows < 1:
        return []
    room = (width - 2) // 2 if beside else width
    ended = list(reversed(status.ended))
    first = _running(status.running[: min(rows, len(status.running))], len(status.running), room)
    spare = 0 if beside else max(0, rows - max(1, len(status.running)))  # rows that the running ones leave
    second = _ended(ended[: rows + spare], exits(status.latency), room)
    if not beside:
        return ["", first, "", second]
    table = _grid(2)
    table.add_row(first, second)
    return ["", table]


def _table(title: Text) -> Table:
    title.no_wrap, title.overflow = True, "ellipsis"
    return Table(
        title=title,
        title_justify="left",
        title_style="",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        expand=True,
    )


def _running(running: Sequence[RunningRequest], count: int, width: int) -> Table:
    table = _table(Text.assemble(("Running thoughts", "bold"), (f"  {count}", "dim")))
    wide = width >= NARROW
    for name, shown in (
        ("No.", True), ("Class", True), ("Stage", wide), ("Thought/budget", True), ("Confidence", True), ("Age", wide),
    ):  # fmt: skip
        if shown:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
    for each in running:
        tokens = f"{each.thought_tokens}{'' if each.budget is None else f'/{each.budget}'}"
        cells: list[str | Text] = [
            str(each.number),
            _class(each.difficulty),
        ]
        cells += [each.stage.value] if wide else []
        cells += [tokens, _confidence(each, wide)]
        cells += [seconds(each.age_s)] if wide else []
        table.add_row(*cells)
    if not count:
        table.add_row("", Text("nothing", "dim"))
    return table


def _class(difficulty: str | None) -> Text:
    return Text(clean(difficulty or "–"), STYLES.get(difficulty or "", ""))


def _confidence(each: RunningRequest, wide: bool) -> Text:
    """Formats a thought's last confidence against its threshold."""
    if each.confidence is None:
        if each.stage is Stage.WAITING:
            return Text("waits", "dim")
        return Text("not asked yet" if each.probing else "not probed", "dim")
    if each.threshold is None:
        return Text(f"{each.confidence:.2f}")
    said = f"{each.confidence:.2f} of {threshold(each.threshold)}"
    if not wide:
        return Text(said)
    full = round(BAR * min(max(each.confidence, 0.0), 1.0))
    return Text.assemble(("━" * full, "cyan"), ("━" * (BAR - full), "bright_black"), f" {said}")


def _ended(ended: Sequence[EndedRequest], reasons: str, width: int) -> Table:
    table = _table(Text.assemble(("Why the last ones stopped", "bold"), (f"  {reasons}" if reasons else "", "dim")))
    wide = width >= NARROW
    for name, shown in (
        ("No.", True), ("Class", True), ("Why", True), ("Thought", True), ("Probes", wide), ("Latency", True),
    ):  # fmt: skip
        if shown:
            table.add_column(name, no_wrap=True, overflow="ellipsis")
    for each in ended:
        cells: list[str | Text] = [
            str(each.number), _class(each.difficulty), why_ended(each),
            str(each.thought_tokens),
        ]  # fmt: skip
        cells += [str(each.probes)] if wide else []
        table.add_row(*cells, seconds(each.total_s))
    if not ended:
        table.add_row("", Text("nothing", "dim"))
    return table
