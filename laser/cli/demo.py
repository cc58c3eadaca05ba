"""`laser demo`: starts its own server, sends it a burst, shows it in the terminal and sums up what was measured."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laser.cli.common.messages import errors_in_one_line
from laser.cli.common.numbers import FiniteRange
from laser.cli.common.options import seed_help

if TYPE_CHECKING:
    from rich.console import Console

    from laser.cli.terminal.demo_traffic import Demo
    from laser.cli.terminal.feed import Feed, Look
    from models.profile.profile import Profile

GRACE_S = 60.0  # s that the last replies may take beyond the traffic's duration
EVERY_S = 2.0  # s between two printed lines if stdout is no terminal


@click.command("demo")
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=FiniteRange(6.0, 3600.0),
    help="Length of the show; a third each: calm, burst, calm.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help=seed_help(drawn=False))
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="Port of the demo's own server, whose page you can open meanwhile. [default: a free one]",
)
def command(seconds: float, seed: int, port: int) -> None:
    """Show LASER at work: calm, a burst of requests, calm again.

    Serves the bundled model in a process of its own, which ends with this one, asks it questions over HTTP, shows what
    `laser top` shows, and sums up what was measured. q ends it early.
    """
    from rich.console import Console

    from laser.cli.terminal.demo_summary import show
    from laser.cli.terminal.demo_traffic import SHARE, Demo, DemoTraffic
    from laser.cli.top import replace_unknown_characters
    from models.profile.profile import FILE_NAME, read_profile
    from models.reasoner import bundled_model

    replace_unknown_characters()
    console = Console(highlight=False)
    with errors_in_one_line():
        profile = read_profile(bundled_model() / FILE_NAME)
        demo = Demo(DemoTraffic(rate=SHARE * profile.full_thought_rate, total_s=seconds, seed=seed))
        asyncio.run(_run(demo, profile, port, console))
    show(demo, console)
    if not demo.records:
        raise click.ClickException("it was ended before anything was measured")


async def _run(demo: Demo, profile: Profile, port: int, console: Console) -> None:
    from laser.cli.terminal.demo_speed import speed
    from laser.cli.terminal.demo_traffic import FACTOR, server_config
    from laser.cli.terminal.feed import Feed
    from laser.cli.terminal.screen import show
    from laser.server_process import serving

    with tempfile.TemporaryDirectory(prefix="laser-demo-") as directory:
        console.print("Starting a server with the bundled model …")
        config = server_config(Path(directory), port)
        async with serving(["serve", "--config", str(config)], Path(directory) / "log") as server:
            url = server.url
            console.print(f"The dashboard, while this runs: {url}/", markup=False, soft_wrap=True)
            share = await speed(url, profile)
            if share < 1.0:
                demo.slower(share)
                console.print(
                    f"This machine decodes at {share:.0%} of the speed that its profile has: so fewer requests come, "
                    "and thoughts may be as short as is certified all the time, since each second of theirs costs more."
                )
            rate = demo.traffic.rate
            console.print(
                f"{rate:.1f} requests/s come, then {FACTOR * rate:.1f}, then {rate:.1f} again: "
                "thoughts get shorter while many wait, as far as is certified, and longer again.",
                soft_wrap=True,
            )
            driving = asyncio.create_task(_drive(demo, url))
            try:
                async with aclosing(_looks(demo, Feed(url), driving)) as looks:
                    if console.is_terminal:
                        await show(looks, console, url, note=lambda: demo.note)
                    else:
                        await _print(demo, looks, console)
            finally:
                driving.cancel()
                await asyncio.wait({driving})
            if not driving.cancelled():
                driving.result()  # raises the task's exception, if the task failed


async def _drive(demo: Demo, url: str) -> None:
    with suppress(TimeoutError):  # the summary counts the missing replies
        async with asyncio.timeout(demo.traffic.total_s + GRACE_S):
            await demo.drive(url)


async def _looks(demo: Demo, feed: Feed, driving: asyncio.Task[None]) -> AsyncGenerator[Look, None]:
    """Yields looks at the server until the traffic task has ended."""
    async with aclosing(feed.looks()) as looks:
        async for look in looks:
            demo.saw(look)
            yield look
            if driving.done():
                return


async def _print(demo: Demo, looks: AsyncGenerator[Look, None], console: Console) -> None:
    """Prints looks as lines: one every EVERY_S, and one whenever the phase changes."""
    from laser.cli.terminal.words import number, seconds, threshold

    last_s, last = -EVERY_S, (demo.begun, demo.phase)
    async for look in looks:
        if demo.at_s - last_s < EVERY_S and (demo.begun, demo.phase) == last:
            continue
        last_s, last = demo.at_s, (demo.begun, demo.phase)
        status = look.status
        load, rate = status.load, status.history[-1].rate
        limits = ", ".join(f"{name} {threshold(each.threshold)}" for name, each in status.controller.limits.items())
        estimate = f"{number(rate.value)} ± {number(rate.sigma)} requests/s; " if rate else ""
        console.print(
            f"{demo.note}: {estimate}{load.running} decoded, {load.waiting} waiting; thresholds {limits}; "
            f"mean latency {seconds(status.latency.mean_s)}",
            markup=False,
            soft_wrap=True,
        )
