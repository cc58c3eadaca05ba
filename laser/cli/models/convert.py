"""`laser convert`: writes a model directory as a GGUF file, for the llama.cpp engine."""

from __future__ import annotations

from pathlib import Path

import click

from laser.cli.common.located import located
from laser.cli.common.messages import errors_in_one_line, progress


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.gguf", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--type",
    "stored",
    default="f16",
    show_default=True,
    type=click.Choice(["f32", "f16", "q8_0"]),
    help="How the weights are stored: 32 or 16 bits each, or 8 with one scale for 32 of them.",
)
def command(model: Path, out: Path, stored: str) -> None:
    """Write MODEL, a directory or a name on the hub, as a GGUF file, for `laser serve --model OUT.gguf`.

    Models of the architectures Llama, Mistral, Qwen2 and Qwen3. The file holds tokenizer, chat template, thinking
    format and sampling defaults, too. Needs a package: pip install 'gguf>=0.19', in a checkout
    pip install -c constraints.txt -e '.[llamacpp]'.
    """
    from engine.gguf.convert import StoredType, convert

    with errors_in_one_line():
        place = located(model)
        with progress().stage("Converting, %", 100) as advance:
            done = 0
            for share in convert(place, out, StoredType(stored)):
                advance(round(100 * share) - done)
                done = round(100 * share)
    click.echo(f"the model is in {out}; serve it with `laser serve --model {out}`")
