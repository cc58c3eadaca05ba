"""The bundled tiny reasoning LM: its tasks, its training, and the location of its shipped weights."""

from pathlib import Path


def bundled_model() -> Path:
    """The shipped model's directory, for AutoTokenizer and AutoModelForCausalLM. Raises FileNotFoundError if absent."""
    directory = Path(__file__).parent / "weights"
    if not (directory / "model.safetensors").is_file():
        raise FileNotFoundError(f"no bundled model at {directory}: train one with `laser train`")
    return directory
