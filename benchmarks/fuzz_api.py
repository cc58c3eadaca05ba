"""Runs schemathesis against /openapi.json of a live server: every answer must be as described there.

schemathesis is no dependency of LASER: install it into its own environment and give the path of its command. A prompt
or reply too long for the served model is a 400 that no schema can foretell; --shape-only therefore does not check that
every body of the right shape is accepted.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from laser.server_process import serving


async def fuzz(command: Path, arguments: list[str], options: list[str]) -> int:
    """Starts a server, runs schemathesis against it, and returns schemathesis' exit status."""
    async with serving(["serve", "--port", "0", "--default-max-tokens", "64", *arguments]) as served:
        run = await asyncio.create_subprocess_exec(str(command), "run", f"{served.url}/openapi.json", *options)
        return await run.wait()


def main() -> None:
    """Command line: run, and exit as schemathesis does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz_api", description=__doc__)
    parser.add_argument("schemathesis", type=Path, help="the command, e.g. /tmp/st/bin/schemathesis")
    parser.add_argument("--model", type=Path, help="model directory (default: the bundled model)")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape-only", action="store_true", help="leave out what the model's limits decide")
    options = parser.parse_args()
    if not options.schemathesis.is_file():
        parser.error(
            f"{options.schemathesis} does not exist; `pip install schemathesis` into an environment of its own"
        )
    arguments = [] if options.model is None else ["--model", str(options.model)]
    wanted = ["--max-time", str(options.seconds), "--seed", str(options.seed), "--continue-on-failure"]
    wanted += ["--exclude-checks", "positive_data_acceptance"] if options.shape_only else []
    raise SystemExit(asyncio.run(fuzz(options.schemathesis, arguments, wanted)))


if __name__ == "__main__":
    main()
