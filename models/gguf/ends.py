"""The tokens that end a reply, by a GGUF file's keys and by their texts, as llama.cpp finds them."""

from __future__ import annotations

from models.gguf.model import GGUFModel

TEXTS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
})  # fmt: skip
BY_KEY = ("eos", "eot", "eom")
CODE = {  # tokens of code completion: the texts that stand for each where the file has no key of it
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
WITHIN = (  # a text that ends no reply where some others do: it ends a part of one
    ("<|end|>", {"<|return|>", "<|call|>"}),
    ("<|end|>", {"<|calls|>", "<|flush|>"}),
    ("</s>", {"<|tool_response>"}),
)


def end_tokens(model: GGUFModel) -> frozenset[int]:
    """Returns the ids of the tokens that end a reply. Raises GGUFError if the file has no vocabulary."""
    tokens = model.tokens
    wanted = TEXTS.union(*CODE.values())
    places = {text: number for number, text in enumerate(tokens) if text in wanted}
    keyed = {name: model.token(f"tokenizer.ggml.{name}_token_id", len(tokens)) for name in (*BY_KEY, *CODE)}
    found = {number for number in keyed.values() if number is not None}
    found |= {number for text, number in places.items() if text in TEXTS}
    for name, texts in CODE.items():
        if keyed[name] is None:
            found |= {places[text] for text in texts if text in places}
    for text, others in WITHIN:
        if others <= places.keys():
            found.discard(places.get(text, -1))
    return frozenset(found)
