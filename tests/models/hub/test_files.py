"""Which files of a repository make a model: those that are needed, never pickles, never code."""

from __future__ import annotations

import pytest

from models.hub.files import ChoiceError, all_models, chosen

BESIDE = ("config.json", "tokenizer.json")
QWEN = tuple(f"qwen3-4b-{quant}.gguf" for quant in ("q2_k", "q4_k_m", "q8_0"))
SPLIT = tuple(f"Q8_0/big-Q8_0-0000{part}-of-00003.gguf" for part in (1, 2, 3))


def test_only_the_files_that_a_model_needs_are_taken() -> None:
    own = ("laser.yaml", "chat_template.jinja", "generation_config.json", "model.safetensors", *BESIDE)
    others = ("README.md", "run.py", "pytorch_model.bin", "onnx/model.onnx", "original/consolidated.safetensors")
    assert set(chosen((*own, *others)).files) == set(own)


def test_the_shards_of_an_index_are_taken_and_no_second_copy() -> None:
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    files = (*shards, *BESIDE, "consolidated.safetensors", "model.safetensors")
    assert set(chosen(files).files) == {*shards, *BESIDE}


def test_a_quantisation_is_chosen_in_any_case_and_its_parts_together() -> None:
    assert chosen(QWEN, "Q8_0").files == ("qwen3-4b-q8_0.gguf",)
    assert chosen((*SPLIT, *QWEN[:1]), "q8_0").files == SPLIT
    assert chosen((*SPLIT, *QWEN[:1]), "q8_0").weights == SPLIT[0]
    assert chosen(("a-UD-Q4_K_XL.gguf", "a-Q8_0.gguf"), "q4_k_xl").quant == "UD-Q4_K_XL"
    assert chosen(("a.gguf", "b.gguf"), "B").files == ("b.gguf",)
    assert chosen(("a-F16.gguf", "a-F16.laser.yaml", "laser.yaml")).files == ("a-F16.gguf", "a-F16.laser.yaml")


def test_without_a_quantisation_a_good_one_is_taken_and_told() -> None:
    choice = chosen(QWEN)
    assert choice.files == ("qwen3-4b-q4_k_m.gguf",)
    assert choice.note == "Q4_K_M, since no QUANT is given; there are Q2_K, Q4_K_M, Q8_0"
    assert chosen((*QWEN, *BESIDE, "model.safetensors")).weights == "", "safetensors go first"
    assert chosen(("only-IQ1_S.gguf", "mmproj-F16.gguf", "x.imatrix.gguf")).note == ""


@pytest.mark.parametrize(
    ("files", "quant", "told"),
    [
        (QWEN, "Q4_K", "has no Q4_K, it has Q2_K, Q4_K_M, Q8_0; did you mean `Q4_K_M`?"),
        ((*BESIDE, "model.safetensors"), "Q4_0", "has no GGUF files, of which 'Q4_0' could be one: leave ':Q4_0' out"),
        (
            ("a-Q8_0.gguf", "b-Q8_0.gguf"),
            "Q8_0",
            "has 2 models in Q8_0: name one of them instead of Q8_0: a-Q8_0, b-Q8_0",
        ),
        (("a-IQ1_S.gguf", "a-IQ1_M.gguf"), None, "has several GGUF models: name one, :QUANT, of IQ1_M, IQ1_S"),
        (SPLIT[:2], None, "has 2 of the 3 parts of Q8_0/big-Q8_0.gguf"),
        (("model.safetensors", "config.json"), None, "has no tokenizer.json, which a model in safetensors needs here"),
        ((*BESIDE, "pytorch_model.bin"), None, "has weights as pickles only (pytorch_model.bin), which may run code: "),
        (("adapter_model.safetensors", *BESIDE), None, "holds an adapter, which must be merged"),
        ((*BESIDE, "unet/x.safetensors"), None, "has no weights that are read here, model.safetensors, "),
        ((), None, "has no weights that are read here, "),
    ],
)
def test_what_makes_no_model_is_told(files: tuple[str, ...], quant: str | None, told: str) -> None:
    with pytest.raises(ChoiceError) as error:
        chosen(files, quant)
    assert str(error.value).startswith(told)


def test_all_models_of_a_repository_are_found() -> None:
    found = all_models((*QWEN, *SPLIT[:1], *BESIDE, "model.safetensors"))
    assert [str(one) if isinstance(one, ChoiceError) else one.quant for one in found] == [
        "",
        "has 1 of the 3 parts of Q8_0/big-Q8_0.gguf",
        "Q2_K",
        "Q4_K_M",
        "Q8_0",
    ]
