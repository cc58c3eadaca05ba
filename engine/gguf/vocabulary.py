"""A model's tokenizer, chat template and formats as the metadata of a GGUF file.

llama.cpp's own tokenizer needs the name of a way to split text. Where the model's way has none, llama.cpp splits by its
default: ids mean the same tokens, but a text may become other ids there. LASER reads the whole tokenizer.json, which
the file carries too, so here the ids are those of the directory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base import UnsupportedModelError
from models.directory import there
from models.files.json_file import read_object, read_plain
from models.foreign import told
from models.generation import FILE_NAME, GenerationDefaults, read_generation_defaults
from models.gguf.keys import GENERATION, THINKING
from models.tokenizer import TokenizerError

if TYPE_CHECKING:
    from gguf import GGUFWriter

BYTE_LEVEL, SENTENCES, NONE = "gpt2", "llama", "none"  # kinds of vocabulary, as llama.cpp calls them
MOST_BYTES = 1 << 20  # of laser.yaml


def describe_vocabulary(writer: GGUFWriter, directory: Path, rows: int) -> None:
    """Adds tokenizer, chat template, thinking format and sampling defaults; `rows`: the tokens that the model has.

    Raises UnsupportedModelError or TokenizerError if the tokenizer is of no kind that llama.cpp knows, or damaged.
    """
    from transformers import AutoTokenizer

    with told(f"{directory}: the tokenizer cannot be loaded", TokenizerError):
        auto: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        said = json.loads(auto.backend_tokenizer.to_str())
    _describe_tokens(writer, directory, said, rows)
    writer.add_string("tokenizer.huggingface.json", json.dumps(said, ensure_ascii=False, separators=(",", ":")))
    defaults = read_generation_defaults(directory)
    _describe_ends(writer, auto, defaults)
    if isinstance(auto.chat_template, str):
        writer.add_chat_template(auto.chat_template)
    if there(directory / "laser.yaml", TokenizerError):
        writer.add_string(THINKING, read_plain(directory / "laser.yaml", TokenizerError, most_bytes=MOST_BYTES))
    if there(directory / FILE_NAME, TokenizerError):
        said = read_object(directory / FILE_NAME, TokenizerError)
        writer.add_string(GENERATION, json.dumps(said | {"eos_token_id": sorted(defaults.stop_tokens)}))
    if defaults.temperature > 0:
        writer.add_sampling_temp(defaults.temperature)
        writer.add_sampling_top_k(defaults.top_k)
        writer.add_sampling_top_p(defaults.top_p)


def describe_no_vocabulary(writer: GGUFWriter) -> None:
    """Says that the file has no tokenizer: such a model decodes token ids alone."""
    writer.add_tokenizer_model(NONE)


def _describe_tokens(writer: GGUFWriter, directory: Path, said: Mapping[str, Any], rows: int) -> None:
    from gguf import TokenType

    model = said["model"]
    if model.get("type") != "BPE":
        raise UnsupportedModelError(f"{directory}: the tokenizer is of type {model.get('type')}, only BPE is converted")
    kind = SENTENCES if model.get("byte_fallback") else BYTE_LEVEL
    texts = {number: text for text, number in model["vocab"].items()}
    types = {number: TokenType.NORMAL for number in texts}
    if kind == SENTENCES:
        types |= {n: TokenType.BYTE for n, text in texts.items() if len(text) == 6 and text.startswith("<0x")}
    for token in said["added_tokens"]:
        texts[token["id"]] = token["content"]
        types[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    unknown = model["vocab"].get(model.get("unk_token"))
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    highest = max(texts)
    if highest >= rows:
        raise UnsupportedModelError(
            f"{directory}: the tokenizer has token {highest} ({texts[highest]!r}), the model has {rows}"
        )
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([types.get(number, TokenType.UNUSED) for number in range(rows)])
    if kind == SENTENCES:
        writer.add_token_scores([float(-number) for number in range(rows)])  # tokens stand in the order of their merges
        writer.add_add_space_prefix("prepend" in json.dumps(said["normalizer"]) or _prepends(said["pre_tokenizer"]))
    else:
        writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in model["merges"]])


def _prepends(splitting: Any) -> bool:
    return isinstance(splitting, dict) and splitting.get("prepend_scheme") in ("always", "first")


def _describe_ends(writer: GGUFWriter, auto: Any, defaults: GenerationDefaults) -> None:
    """Adds the ids of the tokens that begin and end a text, and whether a raw prompt gets the first of them."""
    for number, add in ((auto.bos_token_id, writer.add_bos_token_id), (auto.pad_token_id, writer.add_pad_token_id)):
        if number is not None:
            add(number)
    begins = auto.backend_tokenizer.encode("", add_special_tokens=True).ids[:1]
    writer.add_add_bos_token(auto.bos_token_id is not None and begins == [auto.bos_token_id])
    own = [] if auto.eos_token_id is None else [auto.eos_token_id]
    ends = [*own, *sorted(defaults.stop_tokens - set(own))]
    keys = writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id
    for number, add in zip(ends, keys, strict=False):  # there are three keys
        add(number)
