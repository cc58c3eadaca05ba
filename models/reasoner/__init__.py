"""The bundled tiny reasoning LM: its tasks, its training, and the location of its shipped weights."""

from pathlib import Path

KNOWS = (
    "The bundled model is a toy that knows five kinds of puzzle: who has what and the largest of some numbers, short "
    "word problems, which of two colours more tickets have, who has the most points, and which signs between numbers "
    "make a target. Anything else gets a wrong answer."
)


def bundled_model() -> Path:
    """The shipped model's directory, for AutoTokenizer and AutoModelForCausalLM. Raises FileNotFoundError if absent."""
    directory = _directory()
    if not (directory / "model.safetensors").is_file():
        raise FileNotFoundError(f"no bundled model at {directory}: train one with `laser train`")
    return directory


def known_to(directory: Path) -> str | None:
    """Returns what the model in `directory` can be asked, in words; None: it is not the shipped model."""
    return KNOWS if directory.resolve() == _directory().resolve() else None


def _directory() -> Path:
    return Path(__file__).parent / "weights"
