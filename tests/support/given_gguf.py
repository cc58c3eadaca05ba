"""A real model's GGUF file that whoever runs the tests names, with its weights in float32."""

from __future__ import annotations

import os
from pathlib import Path

GIVEN = "given"
VARIABLE = "LASER_GGUF"  # the environment variable that names the file, such as SmolLM2's


def given() -> Path | None:
    """Returns the file that is named; None: there is none."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def save_widened(file: Path, source: Path) -> Path:
    """Writes the model of `source` into `file` as float32, without its tokenizer: batches of it decode as one does.

    Quantised weights meet activations of 8 bits, which differ in their last bit with what else is in the batch.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(file, architecture)
    for name, field in reader.fields.items():
        if name.startswith(f"{architecture}.") and name != f"{architecture}.vocab_size":
            writer.add_key_value(name, field.contents(), field.types[0])
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(len(reader.fields["tokenizer.ggml.tokens"].data))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
