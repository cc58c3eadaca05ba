"""`make clients`: other people's clients, unmodified and each in an environment of its own, against a live server.

    python -m tests.clients.run [--url URL --model NAME] [NAME…]

The environments are made under build/clients, from the package index, and kept. A client that cannot be installed is
skipped by name. The report, dated, is printed and written there, too; NAME.log has what a client said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from laser.server_process import serving
from laser.version import VERSION

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALL_S = 1800.0
RUN_S = 600.0
SERVED = ("serve", "--port", "0", "--threshold", "0.8", "--alias", "claude-*")
BUNDLED = "laser-reasoner"
TORCH = "2.13.0"  # the Makefile's, whose CPU build is at hand; Open WebUI takes any


class NotInstalled(Exception):
    """A client cannot be installed here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Somebody's client, and the script that uses it."""

    name: str
    packages: tuple[str, ...]  # of the package index, or of npm; the first one's version is told
    script: str

    @property
    def of_node(self) -> bool:
        """Whether it is one of npm's."""
        return self.script.endswith(".mjs")


CLIENTS = (
    Client(name="litellm", packages=("litellm",), script="with_litellm.py"),
    Client(
        name="langchain",
        packages=("langchain", "langchain-openai", "langchain-anthropic", "langchain-ollama"),
        script="with_langchain.py",
    ),
    Client(name="pydantic-ai", packages=("pydantic-ai-slim[openai,anthropic]",), script="with_pydantic_ai.py"),
    Client(name="llm", packages=("llm", "llm-ollama"), script="with_llm.py"),
    Client(name="lm-eval", packages=("lm-eval[api]",), script="with_lm_eval.py"),
    Client(name="guidellm", packages=("guidellm",), script="with_guidellm.py"),
    Client(name="claude-code", packages=("anthropic",), script="with_claude_code.py"),
    Client(name="claude", packages=("@anthropic-ai/claude-code",), script="with_claude_cli.mjs"),
    Client(
        name="ai-sdk",
        packages=(
            "ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "@ai-sdk/anthropic", "openai", "@anthropic-ai/sdk",
            "ollama", "zod",
        ),
        script="with_ai_sdk.mjs",
    ),
    Client(name="open-webui", packages=("open-webui", f"torch=={TORCH}", "selenium"), script="with_open_webui.py"),
)  # fmt: skip


def main() -> None:
    """Runs the clients that the command line names, or all."""
    names = [client.name for client in CLIENTS]
    parser = argparse.ArgumentParser(description="Other people's clients against a live server.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; all by default")
    parser.add_argument("--url", help="of a server that runs; by default one of the bundled model is started")
    parser.add_argument("--model", default=BUNDLED, help="its name there")
    parser.add_argument("--place", type=Path, default=ROOT / "build" / "clients", help="where the environments lie")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in names]
    if unknown:
        parser.error(f"there is no client {unknown[0]}, only {', '.join(names)}")
    chosen = [client for client in CLIENTS if client.name in (given.names or names)]
    given.place.mkdir(parents=True, exist_ok=True)
    if given.url is not None:
        failed = tell(chosen, given.place, given.url, given.model)
    else:
        failed = asyncio.run(_served(chosen, given.place, given.model))
    sys.exit(failed)


async def _served(chosen: Sequence[Client], place: Path, model: str) -> bool:
    async with serving(SERVED, place / "server.log") as server:
        return await asyncio.to_thread(tell, chosen, place, server.url, model)


def tell(chosen: Sequence[Client], place: Path, url: str, model: str) -> bool:
    """Prints and writes the report as it comes; returns whether a check has failed."""
    failed = False
    with (place / f"{datetime.now(UTC):%Y-%m-%d}.md").open("w", encoding="utf-8") as file:
        for line in report(chosen, place, url, model):
            for sink in (sys.stdout, file):
                print(line, file=sink, flush=True)
            failed = failed or "| failed" in line
    return failed


def report(chosen: Sequence[Client], place: Path, url: str, model: str) -> Iterator[str]:
    """Yields the lines of a table of all checks."""
    yield f"`make clients`, {datetime.now(UTC):%Y-%m-%d}, LASER {VERSION}, model {model}"
    yield ""
    yield "| client | version | check | result |"
    yield "|---|---|---|---|"
    for client in chosen:
        print(f"==> {client.name}", file=sys.stderr, flush=True)
        try:
            command = _installed(client, place / client.name)
        except NotInstalled as error:
            yield f"| {client.name} | | | skipped: {error} |"
            continue
        version = _version(client, place / client.name)
        for name, result in _results(command, place / f"{client.name}.log", url, model):
            yield f"| {client.name} | {version} | {name} | {result} |"


def _installed(client: Client, place: Path) -> tuple[Path, Path]:
    """Returns a client's interpreter, in its environment, which is made if need be, and script. Raises NotInstalled."""
    made = place / "installed"
    if client.of_node:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise NotInstalled("node and npm are not there")
        place.mkdir(exist_ok=True)
        if not made.exists():
            _run(npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), *client.packages)
        shutil.copy(HERE / "checks.mjs", place)
        command = Path(node), Path(shutil.copy(HERE / client.script, place))  # node looks for packages beside a script
    else:
        command = place / "bin" / "python", HERE / client.script
        if not made.exists():
            _run(sys.executable, "-m", "venv", str(place))
            _run(str(command[0]), "-m", "pip", "install", "--quiet", *client.packages)
    made.touch()
    return command


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"its installation takes more than {INSTALL_S:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise NotInstalled(f"it cannot be installed: {last[:200]}")


def _version(client: Client, place: Path) -> str:
    name = client.packages[0].partition("[")[0]
    if client.of_node:
        told = json.loads((place / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
        return str(told["version"])
    asked = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([place / "bin" / "python", "-c", asked], capture_output=True, text=True).stdout.strip()


def _results(command: Sequence[Path], log: Path, url: str, model: str) -> Iterator[tuple[str, str]]:
    """Yields the checks of a client's script with what has become of each: `ok`, or `failed` and why."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"LASER_URL": url, "LASER_MODEL": model, "NO_PROXY": "127.0.0.1,localhost"}
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        ) as script,
    ):
        try:
            told, _ = script.communicate(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            yield "all", f"failed: it takes more than {RUN_S:g} s"
            return
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)  # it, and what it has started
    lines = [line.split("\t") for line in told.splitlines() if line.startswith(("ok\t", "failed\t"))]
    for word, name, *why in lines:
        yield name, ": ".join([word, *why]).replace("|", "/")
    if not lines or (script.returncode != 0 and all(word == "ok" for word, *_ in lines)):
        last = (log.read_text(encoding="utf-8", errors="replace").strip() or "no word").splitlines()[-1]
        yield "the script", f"failed: {last[:300]}".replace("|", "/")


if __name__ == "__main__":
    main()
