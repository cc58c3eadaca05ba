"""The tensors of a model's weights files: where they stand, and whether they are those that the model has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.base import CorruptModelError, UnsupportedModelError
from engine.checkpoint import architecture_of
from models.directory import INDEX, ONE_FILE, there
from models.files.json_file import named, read_object, shown
from models.foreign import told

PLAIN = ("F64", "F32", "F16", "BF16")  # the types that safetensors calls so hold weights; others hold codes
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TOLD = 3  # names that an error lists before it counts the others

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor as its file's head describes it."""

    file: Path
    dtype: str  # as safetensors calls it
    shape: Shape

    @property
    def values(self) -> int:
        """The number of its elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def weights_files(directory: Path) -> list[Path]:
    """Returns the safetensors files of a model's weights. Raises CorruptModelError if one is missing."""
    return _files(directory, _index(directory))


def _files(directory: Path, indexed: Mapping[str, str]) -> list[Path]:
    """Returns the weights files of a directory whose index is `indexed`; empty: it has none."""
    names = sorted(set(indexed.values())) if indexed else [ONE_FILE]
    files = [directory / name for name in names]
    for file in files:
        if not there(file, CorruptModelError):
            others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.gguf") for path in directory.glob(pattern))
            hint = f"; {others[0][:80]} is there: convert it to safetensors" if others else ""
            raise CorruptModelError(f"{file} is missing{hint}")
    if indexed and ONE_FILE not in names and there(directory / ONE_FILE, CorruptModelError):
        raise CorruptModelError(
            f"{directory}: {ONE_FILE} and {INDEX}, which does not list it, are both there: remove those that are not "
            "the weights"
        )
    return files


def stored_tensors(directory: Path) -> dict[str, StoredTensor]:
    """Returns every tensor of a model's weights by name; reads the files' heads only.

    Raises CorruptModelError if a file is missing or damaged, if two files hold a tensor of the same name, or if a file
    lacks a tensor that the index places in it.
    """
    from safetensors import safe_open

    indexed, found = _index(directory), dict[str, StoredTensor]()
    for file in _files(directory, indexed):
        with told(f"{file} is damaged", CorruptModelError), safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - a handle, not a dict
                part = tensors.get_slice(name)
                if name in found:
                    raise CorruptModelError(f"{directory}: {found[name].file.name} and {file.name} both hold {name}")
                found[name] = StoredTensor(file=file, dtype=part.get_dtype(), shape=tuple(part.get_shape()))
    if not found:
        raise CorruptModelError(f"{directory}: the weights hold no tensor")
    wrong = [name for name, file in indexed.items() if name not in found or found[name].file.name != file]
    if wrong:
        raise CorruptModelError(f"{directory}/{INDEX}: places {listed(wrong)} in files that do not hold it")
    return found


def parameters(config: Any) -> dict[str, Shape]:
    """Returns the name and shape of every tensor of a Llama, Mistral, Qwen2 or Qwen3 model of this configuration.

    Which there are follows from the architecture, never from what a file happens to hold. A model that ties embedding
    and head has no tensor of the head.
    """
    hidden, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    width = head_width(config)
    queries, keys = heads * width, config.num_key_value_heads * width
    qwen2, qwen3 = config.model_type == "qwen2", config.model_type == "qwen3"
    attention_bias = config.model_type != "mistral" and bool(getattr(config, "attention_bias", False))
    mlp_bias = config.model_type not in ("mistral", "qwen2", "qwen3") and bool(getattr(config, "mlp_bias", False))
    linear = {  # outputs, inputs, whether there is a bias
        "self_attn.q_proj": (queries, hidden, qwen2 or attention_bias),
        "self_attn.k_proj": (keys, hidden, qwen2 or attention_bias),
        "self_attn.v_proj": (keys, hidden, qwen2 or attention_bias),
        "self_attn.o_proj": (hidden, queries, not qwen2 and attention_bias),
        "mlp.gate_proj": (inner, hidden, mlp_bias),
        "mlp.up_proj": (inner, hidden, mlp_bias),
        "mlp.down_proj": (hidden, inner, mlp_bias),
    }
    layer: dict[str, Shape] = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
    for name, (outputs, inputs, bias) in linear.items():
        layer[f"{name}.weight"] = (outputs, inputs)
        if bias:
            layer[f"{name}.bias"] = (outputs,)
    if qwen3:
        layer |= {"self_attn.q_norm.weight": (width,), "self_attn.k_norm.weight": (width,)}
    found: dict[str, Shape] = {EMBEDDING: (config.vocab_size, hidden), "model.norm.weight": (hidden,)}
    if not config.tie_word_embeddings:
        found[HEAD] = (config.vocab_size, hidden)
    for i in range(config.num_hidden_layers):
        found |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return found


def head_width(config: Any) -> int:
    """Returns the values of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def check_plain(directory: Path, stored: Mapping[str, StoredTensor]) -> None:
    """Raises UnsupportedModelError if a tensor is of a type that holds codes, not weights."""
    codes = {name: tensor.dtype for name, tensor in stored.items() if tensor.dtype not in PLAIN}
    if codes:
        raise UnsupportedModelError(
            f"{directory}: the tensors are of type {', '.join(sorted(set(codes.values())))}, must be of "
            f"{', '.join(PLAIN)}, which hold plain weights: {listed(codes)}"
        )


def check_layers(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> None:
    """Raises CorruptModelError if the configuration has more layers than the weights have tensors."""
    layers = getattr(config, "num_hidden_layers", 0)
    if layers > len(stored):
        raise CorruptModelError(
            f"{directory}: config.json asks for num_hidden_layers {layers}, the weights have {len(stored)} tensors"
        )


def check_parameters(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> None:
    """Raises an error unless the weights are the tensors of `parameters`, in their shapes.

    CorruptModelError: a tensor is missing or of another shape. UnsupportedModelError: there are others. A head beside a
    tied embedding passes here, and stands in for an embedding that is missing; `check_tied` compares them.
    """
    check_layers(directory, config, stored)
    wanted = parameters(config)
    if config.tie_word_embeddings and HEAD in stored:
        if EMBEDDING not in stored:
            wanted[HEAD] = wanted.pop(EMBEDDING)
        else:
            wanted[HEAD] = wanted[EMBEDDING]
    others = [name for name in stored if name not in wanted and not is_buffer(name)]
    check_names(
        directory, architecture_of(config), missing=[name for name in wanted if name not in stored], others=others
    )
    for name, shape in wanted.items():
        if stored[name].shape != shape:
            raise CorruptModelError(
                f"{directory}: the tensor {name} is of shape {stored[name].shape}, config.json asks for {shape}"
            )


def check_names(directory: Path, architecture: str, *, missing: Collection[str], others: Collection[str]) -> None:
    """Raises CorruptModelError if tensors are missing, UnsupportedModelError if there are `others` without a use."""
    unused = f"hold {listed(others)}, which {architecture} has no use for" if others else ""
    if missing:
        raise CorruptModelError(f"{directory}: the weights lack {listed(missing)}{'; they ' if unused else ''}{unused}")
    if others:
        raise UnsupportedModelError(f"{directory}: the weights {unused}: replies without them would be others")


def check_tied(directory: Path, config: Any, stored: Mapping[str, StoredTensor]) -> None:
    """Raises CorruptModelError if head and embedding are tied by the configuration, and differ in the weights."""
    if not config.tie_word_embeddings or HEAD not in stored or EMBEDDING not in stored:
        return
    import torch
    from safetensors import safe_open

    parts = []
    for name in (HEAD, EMBEDDING):
        with told(f"{stored[name].file} is damaged", CorruptModelError), safe_open(stored[name].file, "pt") as tensors:
            parts.append(tensors.get_tensor(name))
    if parts[0].shape != parts[1].shape or not torch.equal(*(part.to(torch.float32) for part in parts)):
        raise CorruptModelError(
            f"{directory}: config.json says tie_word_embeddings, but {HEAD} differs from {EMBEDDING} in the weights"
        )


def is_buffer(name: str) -> bool:
    """Returns whether a tensor holds what older files keep of the rotary embedding; configurations say it, too."""
    return name.endswith("rotary_emb.inv_freq")


def listed(names: Iterable[str]) -> str:
    """Returns the first names and the number of the others, in words."""
    each = sorted(names)
    first = ", ".join(name if name.isprintable() and len(name) <= 120 else shown(name) for name in each[:TOLD])
    what = "the tensor" if len(each) == 1 else "the tensors"
    return f"{what} {first}" + (f" and {len(each) - TOLD} more" if len(each) > TOLD else "")


def _index(directory: Path) -> dict[str, str]:
    """Returns the file of each tensor as the index says; empty if there is no index."""
    path = directory / INDEX
    if not there(path, CorruptModelError):
        return {}
    entries = read_object(path, CorruptModelError).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        told_as = "empty" if entries == {} else named(entries)
        raise CorruptModelError(f"{path}: weight_map is {told_as}, must name the file of each tensor")
    for tensor, file in entries.items():
        flat = isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors") and "\0" not in file
        if not flat:
            raise CorruptModelError(
                f"{path}: the file of {tensor[:80]} is {shown(file)}, must be a .safetensors file of the same directory"
            )
    return entries
