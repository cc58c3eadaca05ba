"""Tiny models and a tiny tokenizer, saved as real files, and the oracle that decodes one sequence at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

VOCABULARY = 128

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 32, "num_hidden_layers": 3}),
    "llama": ("LlamaConfig", {**_GROUPED, "attention_bias": False}),
    "phi": ("PhiConfig", {**_COMMON, "num_key_value_heads": 4, "partial_rotary_factor": 0.5}),
    "gpt_neox": ("GPTNeoXConfig", {**_COMMON, "rotary_pct": 0.25}),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": None}),
    "gpt2": ("GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": VOCABULARY}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            **_GROUPED,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
    "bloom": ("BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 2, "n_head": 4}),
    "falcon": ("FalconConfig", {**_COMMON, "alibi": True, "multi_query": False, "new_decoder_architecture": False}),
    "gptj": (
        "GPTJConfig",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 8, "vocab_size": VOCABULARY},
    ),
    "stablelm": ("StableLmConfig", _GROUPED),
    "mamba": ("MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": VOCABULARY, "state_size": 4}),
}


def save_model(directory: Path, architecture: str, *, seed: int = 0, **overrides: Any) -> Path:
    """A random model of this architecture in `directory`; its every weight, bias and norm matters to the output."""
    import transformers

    name, common = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**{**common, **overrides})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            if parameter.ndim >= 2:  # gain 2: far from a bigram model, and the top two tokens seldom close
                parameter.copy_(noise * 2.0 / parameter.shape[1] ** 0.5)
            elif bool((parameter == 1).all()):
                parameter.copy_(1.0 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)
    model.save_pretrained(directory)
    return directory


class Oracle:
    """What transformers itself says of a model: generate() on one sequence, and exact probabilities in float64."""

    TIE = 1e-5  # logits this close may fall either way in float32
    LOG_PROB = 1e-4  # how far off an engine's log-probabilities may be
    FOUND_BY_CONTENT = False  # whether an engine may find a probe's suffix in its cache, and decode less of it

    def __init__(self, directory: Path) -> None:
        from transformers import AutoModelForCausalLM

        self._model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self._exact: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64).eval()
        self._known: dict[tuple[Any, ...], list[int]] = {}

    def generate(
        self,
        context: Sequence[int],
        tokens: int,
        *,
        stops: frozenset[int] = frozenset(),
        barred: frozenset[int] = frozenset(),
    ) -> list[int]:
        """The greedy continuation, up to and with the first of `stops`, never one of `barred`."""
        key = (tuple(context), tokens, stops, barred)
        if key not in self._known:
            prompt = torch.tensor([list(context)])
            with torch.inference_mode():
                output = self._model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    do_sample=False,
                    max_new_tokens=tokens,
                    eos_token_id=sorted(stops) or None,
                    suppress_tokens=sorted(barred) or None,
                    pad_token_id=0,
                )
            self._known[key] = output[0, len(context) :].tolist()
        return self._known[key]

    def logits(self, context: Sequence[int]) -> np.ndarray:
        """Float64 logits after every token of `context`, (tokens, vocabulary)."""
        with torch.inference_mode():
            return self._exact(torch.tensor([list(context)])).logits[0].numpy()

    def log_probs(self, context: Sequence[int], continuation: Sequence[int]) -> np.ndarray:
        """log p of each token of `continuation` given all before it, raw softmax."""
        if not continuation:
            return np.zeros(0)
        logits = self.logits([*context, *continuation])[len(context) - 1 : -1]
        top = logits.max(axis=1)
        norm = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return logits[np.arange(len(continuation)), list(continuation)] - norm

    def gap(self, context: Sequence[int], token: int) -> float:
        """log p of the likeliest token after `context`, less that of this one."""
        likeliest = int(self.logits(context)[-1].argmax())
        return float((self.log_probs(context, [likeliest]) - self.log_probs(context, [token]))[0])

    def assert_continues(
        self,
        context: Sequence[int],
        tokens: Sequence[int],
        *,
        stops: frozenset[int] = frozenset(),
        barred: frozenset[int] = frozenset(),
    ) -> None:
        """`tokens` are what generate() says follows `context`; a flip is forgiven only where float64 shows a tie."""
        at = 0
        while at < len(tokens):
            before = [*context, *tokens[:at]]
            expected = self.generate(before, len(tokens) - at, stops=stops, barred=barred)
            same = 0
            while same < len(expected) and at + same < len(tokens) and expected[same] == tokens[at + same]:
                same += 1
            at += same
            if at == len(tokens):
                return
            assert same < len(expected), f"goes on after {list(tokens[:at])}, where generate() stops"
            logits = self.logits([*context, *tokens[:at]])[-1]
            gap = abs(logits[tokens[at]] - logits[expected[same]])
            assert gap < self.TIE, (
                f"token {at} is {tokens[at]}, generate() says {expected[same]} (logits {gap:.2g} apart); "
                f"all: {list(tokens)} against {list(tokens[:at]) + expected[same:]}"
            )
            at += 1


_TEXT = """\
Let me think about it. First, 3 + 4 = 7, so the answer may be 7. Wait, let me check it again. Alternatively, I could
count: 1, 2, 3, 4, 5, 6, 7. Hmm, that is right. Therefore the answer is \\boxed{7}.

**Final Answer**
\\boxed{12}

Considering the limited time by the user, I have to give the solution based on the thinking directly now.
Waiting and awaiting are other words.

The user wants the solution.

I think the final answer is 42 directly.

"""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tokenizer(directory: Path) -> Path:
    """A byte-level BPE tokenizer of about 420 tokens with ChatML and thinking markers, in `directory`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator([_TEXT] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=_TEMPLATE
    )
    fast.save_pretrained(directory)
    return directory


def save_chain(
    directory: Path,
    vocabulary: int,
    chain: Mapping[int, Mapping[int, float]],
    *,
    eager: int | None = None,
    positions: int | None = None,
) -> Path:
    """A real Qwen2 model that is a known Markov chain: `chain[a][b]` is the probability that token b follows a.

    Embeddings are one-hot, attention and MLP write nothing, and the output layer holds log P, so every probability is
    known in advance. Rows left out are uniform, but for `eager`: then that token has probability 0.9. A sequence may
    have `positions` tokens; None: as many as the other small models.
    """
    import transformers

    hidden = -(-vocabulary // 4) * 4
    config = transformers.Qwen2Config(
        **{**_GROUPED, "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": 1, "intermediate_size": 4},
        head_dim=8,
        tie_word_embeddings=False,
        rms_norm_eps=0.0,
    )
    if positions is not None:
        config.max_position_embeddings = positions
    table = torch.full((vocabulary, vocabulary), 1.0 / vocabulary)
    if eager is not None:
        table[:] = 0.1 / (vocabulary - 1)
        table[:, eager] = 0.9
    for before, row in chain.items():
        left = (1.0 - sum(row.values())) / (vocabulary - len(row))
        table[before] = max(left, 1e-9)
        for after, probability in row.items():
            table[before, after] = probability
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        model.get_input_embeddings().weight.copy_(torch.eye(vocabulary, hidden))
        model.get_output_embeddings().weight[:, :vocabulary].copy_(table.log().T / hidden**0.5)
    model.save_pretrained(directory)
    return directory


def damage(directory: Path, **changes: Any) -> None:
    """Overwrites keys of the model's config.json."""
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
