"""The bundled tiny reasoning LM: its tasks, its training, and where its shipped weights lie."""

from pathlib import Path


def bundled_model() -> Path:
    """The directory of the shipped model, for AutoTokenizer and AutoModelForCausalLM; FileNotFoundError if absent."""
    directory = Path(__file__).parent / "weights"
    if not (directory / "model.safetensors").is_file():
        raise FileNotFoundError(f"no bundled model at {directory}: train one with `laser train`")
    return directory
