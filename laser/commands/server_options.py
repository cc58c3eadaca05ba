"""The options of commands that talk to a running server."""

from __future__ import annotations

import click

DEFAULT_URL = "http://127.0.0.1:8000"


def _visible(_ctx: click.Context, _parameter: click.Parameter, key: str | None) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise click.BadParameter("must be visible ASCII characters")
    return key


url_option = click.option(
    "--url", default=DEFAULT_URL, envvar="LASER_URL", show_default=True, show_envvar=True, help="The server's address."
)
key_option = click.option(
    "--key",
    envvar="LASER_KEY",
    show_envvar=True,
    callback=_visible,
    help="Bearer key, where the server wants one.",
)
