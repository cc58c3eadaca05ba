"""A GGUF file's vocabulary as a tokenizer of transformers.

Token ids are those of llama.cpp's own tokenizer. A file that carries a whole tokenizer.json, under the key of GGUF's
standard for it, is read by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.files.json_file import shown
from models.foreign import told
from models.gguf.ends import TEXTS
from models.gguf.errors import GGUFError
from models.gguf.model import GGUFModel
from models.gguf.splitting import WAYS, Splitting

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WHOLE = "tokenizer.huggingface.json"  # the key of a whole tokenizer.json
TEMPLATE = "tokenizer.chat_template"
BYTE_LEVEL, SENTENCES, GEMMA = "gpt2", "llama", "gemma4"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of tokens
SPACE = "▁"  # as vocabularies of sentences write a blank
MOST_TEMPLATE = 4 << 20  # characters


def load_tokenizer(model: GGUFModel, file: Path | None = None) -> Any:
    """Returns the model's tokenizer, with its chat template, as transformers loads one from a directory.

    `file`: a tokenizer.json to read instead of the vocabulary. Raises GGUFError if the vocabulary is damaged, or of a
    kind that is not read.
    """
    from transformers import PreTrainedTokenizerFast as imported

    made: Any = imported  # untyped
    tokens = model.tokens
    template = model.text(TEMPLATE)
    if template is not None and len(template) > MOST_TEMPLATE:
        raise GGUFError(f"{model.path}: {TEMPLATE} has more than {MOST_TEMPLATE} characters")
    named = {
        f"{name}_token": tokens[number]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if (number := model.token(f"tokenizer.ggml.{key}_token_id", len(tokens))) is not None
    }
    places = _places(model)
    with told(f"{model.path}: the tokenizer cannot be used", GGUFError):
        tokenizer = _whole(model, file) or _built(model)
        _check_ids(model, tokenizer, places)
        return made(tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False, **named)


def _whole(model: GGUFModel, file: Path | None) -> Tokenizer | None:
    """Returns the tokenizer that stands in `file` or in the GGUF file as a whole; None: there is neither."""
    from tokenizers import Tokenizer

    if file is not None:
        return Tokenizer.from_file(str(file))
    text = model.text(WHOLE)
    return None if text is None else Tokenizer.from_str(text)


def _check_ids(model: GGUFModel, tokenizer: Tokenizer, places: Mapping[str, int]) -> None:
    """Raises GGUFError if the tokenizer gives a token another id than the file."""
    for text, number in tokenizer.get_vocab(with_added_tokens=True).items():
        if places.get(text, number) != number:
            raise GGUFError(
                f"{model.path}: the token {shown(text)} has the id {places[text]}, its tokenizer.json says {number}"
            )


def _places(model: GGUFModel) -> dict[str, int]:
    """Returns the id of each token. Raises GGUFError if two have the same text, at which llama.cpp ends the process."""
    places: dict[str, int] = {}
    for number, text in enumerate(model.tokens):
        before = places.setdefault(text, number)
        if before != number:
            raise GGUFError(
                f"{model.path}: the token {shown(text)} stands there twice, with the ids {before} and {number}"
            )
    return places


def _built(model: GGUFModel) -> Tokenizer:
    """Returns a tokenizer of the file's tokens, merges and way of splitting text."""
    kind = model.text("tokenizer.ggml.model")
    if kind == BYTE_LEVEL:
        name = model.text("tokenizer.ggml.pre") or "default"
        if name not in WAYS:
            raise GGUFError(
                f"{model.path}: tokenizer.ggml.pre is {shown(name)}, by which texts would be split in a way that is "
                "unknown here: put the model's tokenizer.json into the file's directory, as "
                f"{model.path.stem}.tokenizer.json"
            )
        tokenizer, begins = _byte_level(model, WAYS[name]), WAYS[name].begins
    elif kind in (SENTENCES, GEMMA):
        tokenizer, begins = _sentences(model, merged=kind == GEMMA), True
    else:
        raise GGUFError(
            f"{model.path}: tokenizer.ggml.model is {shown(kind)}, {BYTE_LEVEL}, {SENTENCES} and {GEMMA} are read"
        )
    _add_control(model, tokenizer)
    _begin(model, tokenizer, begins)
    return tokenizer


def _byte_level(model: GGUFModel, way: Splitting) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    bpe = models.BPE(vocab=_vocabulary(model), merges=_merges(model), fuse_unk=False, ignore_merges=way.whole)
    tokenizer = Tokenizer(bpe)
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in way.patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentences(model: GGUFModel, *, merged: bool) -> Tokenizer:
    """Returns a tokenizer of characters, and of bytes where those lack; `merged`: the file has the merges."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.convert_slow_tokenizer import generate_merges

    vocabulary, types = _vocabulary(model), model.token_types
    if merged:
        merges = _merges(model)
    else:
        scores = model.metadata.get("tokenizer.ggml.scores")
        if not isinstance(scores, tuple) or len(scores) != len(model.tokens):
            raise GGUFError(f"{model.path}: tokenizer.ggml.scores must hold a number for each token")
        joined = {
            text: scores[number] for text, number in vocabulary.items() if types[number] in (NORMAL, USER_DEFINED)
        }
        merges = generate_merges({text: vocabulary[text] for text in joined}, joined)
    unknown = next((text for text, number in vocabulary.items() if types[number] == UNKNOWN), None)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token=unknown)
    )
    prefixed = not merged and bool(model.metadata.get("tokenizer.ggml.add_space_prefix", True))
    tokenizer.normalizer = normalizers.Sequence(
        [*([normalizers.Prepend(SPACE)] if prefixed else []), normalizers.Replace(" ", SPACE)]
    )
    if merged:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+"), behavior="isolated")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prefixed else []),
        ]
    )
    return tokenizer


def _vocabulary(model: GGUFModel) -> dict[str, int]:
    """Returns the id of each token; what only fills a matrix up to its rows is none."""
    types = model.token_types
    return {
        text: number
        for number, text in enumerate(model.tokens)
        if not (types[number] == UNUSED and text == f"[PAD{number}]")
    }


def _merges(model: GGUFModel) -> list[tuple[str, str]]:
    """Returns the pairs of tokens that become one, the first to merge first."""
    listed = model.metadata.get("tokenizer.ggml.merges")
    if not isinstance(listed, tuple) or not all(isinstance(each, str) for each in listed):
        raise GGUFError(f"{model.path}: is damaged: it lacks tokenizer.ggml.merges")
    pairs = []
    for each in map(str, listed):
        blank = each.find(" ", 1)  # a token may begin with a blank
        if blank < 0:
            raise GGUFError(f"{model.path}: tokenizer.ggml.merges holds {shown(each)}, must be two tokens")
        pairs.append((each[:blank], each[blank + 1 :]))
    return pairs


def _add_control(model: GGUFModel, tokenizer: Tokenizer) -> None:
    """Makes added tokens of those that are control tokens, and of those that a text always gives as a whole."""
    from tokenizers import AddedToken

    special, plain = [], []
    for text, kind in zip(model.tokens, model.token_types, strict=True):
        if kind == CONTROL or (text in TEXTS and kind != USER_DEFINED):
            special.append(AddedToken(text, normalized=False, special=True))
        elif kind == USER_DEFINED:
            plain.append(AddedToken(text, normalized=False, special=False))
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)


def _begin(model: GGUFModel, tokenizer: Tokenizer, default: bool) -> None:
    """Puts the BOS token before raw prompts where the file, or else `default`, wants it there."""
    from tokenizers.processors import TemplateProcessing

    wanted, number = (
        model.metadata.get("tokenizer.ggml.add_bos_token", default),
        model.token("tokenizer.ggml.bos_token_id", len(model.tokens)),
    )
    if wanted and number is not None:
        text = model.tokens[number]
        tokenizer.post_processor = TemplateProcessing(single=[text, "$A"], special_tokens=[(text, number)])
