"""ExLlamaV2's kernels and the attention beside them, as the engine calls them; all but little needs a GPU.

Tolerances are of half precision in another order of sums. `benchmarks/gpu.sh` runs these on a GPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.base import CapacityError, UnsupportedModelError
from engine.exllama.config import ExLlamaConfig
from tests.support.on_gpu import ON_GPU, only_gpu
from tests.support.quantised_models import SHAPE, save_quantised
from tests.support.tiny_models import save_model

ROWS = (1, 4, 5, 8, 32, 33)  # kernels take slabs of 4 rows; beyond 32 a matrix is dequantised for cuBLAS
QUANTISED = ("gptq", "exl2")
CELLS = 16_384

# --- passes of the model


@dataclass(frozen=True, kw_only=True)
class Passes:
    """One-token passes of a model behind texts of its own, one page each."""

    model: Any
    cache: Any
    behind: int = 40  # tokens of each text

    def texts(self, rows: int) -> torch.Tensor:
        vocabulary = self.model.config.vocab_size
        return torch.stack([torch.arange(row, row + 7 * (self.behind + 1), 7) for row in range(rows)]) % vocabulary

    def fill(self, rows: int) -> None:
        for row, text in enumerate(self.texts(rows)):
            self.logits(text[None, : self.behind], [0], [[row]])

    def newest(self, rows: list[int]) -> torch.Tensor:
        """Logits (rows, vocabulary) after the last token of each of these texts, in one pass."""
        newest = self.texts(max(rows) + 1)[rows, self.behind :]
        return self.logits(newest, [self.behind] * len(rows), [[row] for row in rows])[:, 0]

    def logits(self, tokens: torch.Tensor, starts: list[int], tables: list[list[int]]) -> torch.Tensor:
        from engine.exllama.selftest import paged_logits

        with torch.inference_mode():
            return paged_logits(self.model, self.cache, 256, tokens, starts, tables)


@pytest.fixture(scope="module")
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model on the GPU, with weights of the kind that the test names."""
    from engine.exllama.load import load_exllama

    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "plain":
        save_model(directory, "qwen2", **SHAPE)
    else:
        save_quantised(directory, request.param)
    return load_exllama(directory, ExLlamaConfig(cells=CELLS))


def check_rows(passes: Passes) -> None:
    """Each row of a batch has the logits that it has alone, whatever the batch's size."""
    passes.fill(max(ROWS))
    alone = torch.cat([passes.newest([row]) for row in range(max(ROWS))])
    for rows in ROWS:
        together = passes.newest(list(range(rows)))
        assert_alike(together, alone[:rows])


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Logits are the same but for half precision's rounding, in another order of sums."""
    assert float((ours - theirs).abs().max()) < 0.05 * float(theirs.abs().max())


def check_repeats(passes: Passes, repeats: int) -> None:
    """Passes give the same however often they are run: from the 205th on, those of quantised weights replay a graph."""
    passes.fill(3)
    first = [passes.newest([row]) for row in range(3)]
    for again in range(repeats):
        assert_alike(passes.newest([again % 3]), first[again % 3])


def test_rows_and_repeats_on_the_stand_in() -> None:
    if ON_GPU:
        pytest.skip("the real extension is loaded here")
    from tests.support.history_model import HistoryModel, import_exllamav2

    import_exllamav2()
    from exllamav2 import ExLlamaV2Cache

    model = HistoryModel()
    passes = Passes(model=model, cache=ExLlamaV2Cache(model, max_seq_len=256 * max(ROWS)), behind=9)
    check_rows(passes)
    check_repeats(passes, 6)


@only_gpu
@pytest.mark.parametrize("loaded", ["plain", *QUANTISED], indirect=True)
def test_a_row_has_the_same_logits_in_a_batch_of_any_size(loaded: Any) -> None:
    check_rows(Passes(model=loaded.model, cache=loaded.cache))


@only_gpu
@pytest.mark.parametrize("loaded", QUANTISED, indirect=True)
def test_graphs_replay_what_they_have_recorded(loaded: Any) -> None:
    check_repeats(Passes(model=loaded.model, cache=loaded.cache), 230)


@only_gpu
@pytest.mark.parametrize("loaded", QUANTISED, indirect=True)
def test_every_quantised_matrix_multiplies_as_if_it_were_dequantised(loaded: Any) -> None:
    """Often: a kernel's blocks add to a sum that one of them clears, and nothing but their order makes it the first."""
    from exllamav2.linear import ExLlamaV2Linear

    parts = [part for module in loaded.model.modules for part in (module, *module.submodules)]
    matrices = [part for part in parts if isinstance(part, ExLlamaV2Linear) and part.q_handle is not None]
    rng = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for matrix, rows in product(matrices, ROWS):
            x = torch.randn(rows, matrix.in_features, generator=rng).half().to(matrix.device())
            expected = x.float() @ matrix.get_weight_tensor_dq().float()
            if matrix.has_bias:
                expected += matrix.q_tensors["bias"].float()
            errors = [(matrix.forward(x).float() - expected).abs().max() for _ in range(40)]
            assert float(torch.stack(errors).max()) < 0.03 * float(expected.abs().max()), (matrix.key, rows)


@pytest.mark.parametrize("method", QUANTISED)
def test_the_quantised_models_of_these_tests_are_taken(tmp_path: Path, method: str) -> None:
    from engine.exllama.load import check_model

    check_model(save_quantised(tmp_path, method))


def test_biases_beside_quantised_matrices_are_half_precision(tmp_path: Path) -> None:
    """The extension would refuse others in words of its own, once all is loaded."""
    from safetensors.torch import load_file, save_file

    from engine.exllama.load import check_model

    file = save_quantised(tmp_path, "gptq") / "model.safetensors"
    stored = {name: tensor.bfloat16() if name.endswith("bias") else tensor for name, tensor in load_file(file).items()}
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(UnsupportedModelError, match=r"biases of type F16 only, of type BF16 are the tensors .*k_proj"):
        check_model(tmp_path)


# --- loading


@only_gpu
def test_a_model_that_overflows_half_precision_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from engine.exllama.load import load_exllama

    file = save_model(tmp_path, "llama", **SHAPE, tie_word_embeddings=False) / "model.safetensors"
    stored = load_file(file)
    stored["lm_head.weight"] *= 1e5
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(UnsupportedModelError, match="numbers overflow in half precision"):
        load_exllama(tmp_path, ExLlamaConfig(cells=4096))


@only_gpu
def test_more_cells_than_memory_are_refused_and_leave_the_device_usable() -> None:
    from engine.exllama.load import load_exllama
    from models.reasoner import bundled_model

    with pytest.raises(CapacityError, match="needs about"):
        load_exllama(bundled_model(), ExLlamaConfig(cells=1 << 34))
    load_exllama(bundled_model(), ExLlamaConfig(cells=4096))


# --- attention


def pages(lengths: list[int], heads: int, kv_heads: int, size: int, newest: int, device: torch.device) -> list[Any]:
    """Arguments of an `Attend`: random keys and values of rows of these lengths, in pages of 256 in no order."""
    rng = torch.Generator().manual_seed(sum(lengths))

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng).to(device, torch.half)

    each = [-(-length // 256) for length in lengths]
    order = torch.randperm(sum(each), generator=rng).int().split(each)
    table = torch.nn.utils.rnn.pad_sequence(list(order), batch_first=True).to(device)
    keys, values = (noise(sum(each), 256, kv_heads, size) for _ in range(2))
    ends = torch.tensor(lengths, dtype=torch.int32, device=device)
    return [noise(len(lengths), newest, heads, size), keys, values, ends, table, None]


@only_gpu
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(4, 4, 64), (12, 2, 64), (32, 8, 128), (28, 4, 128)])
@pytest.mark.parametrize("newest", [1, 8, 250])
def test_the_attention_that_serves_agrees_with_one_in_single_precision(
    heads: int, kv_heads: int, size: int, newest: int
) -> None:
    """Whichever serves here: flash-attn's, torch's own on pages in place, or on gathered ones."""
    from engine.exllama.paged_attention import fastest, flash_attention, gathered

    cuda = torch.device("cuda:0")
    lengths = [255, 256, 257, 700, 2048, *range(250, 278)]
    q, keys, values, ends, table, scale = pages(lengths, heads, kv_heads, size, newest, cuda)
    expected = gathered(q.float(), keys.float(), values.float(), ends, table, scale)
    found = {"torch": fastest(cuda)(q, keys, values, ends, table, scale)}
    with flash_attention(cuda) as packaged:
        if packaged:
            from flash_attn import flash_attn_with_kvcache

            found["flash-attn"] = flash_attn_with_kvcache(
                q, keys, values, cache_seqlens=ends, block_table=table, causal=True
            )
    for name, out in found.items():
        assert float((out.float() - expected).abs().max()) < 1e-2, name


@only_gpu
def test_attention_of_a_new_shape_takes_no_time_of_its_own() -> None:
    """Rows come and go and pages are added at every step: whatever is made anew for each shape would be seen here."""
    from engine.exllama.paged_attention import fastest, flash_attention

    cuda = torch.device("cuda:0")
    with flash_attention(cuda):
        attend = fastest(cuda)
    seconds = []
    for rows, longest in product(range(1, 9), range(200, 2000, 300)):
        arguments = pages([longest] * rows, 8, 2, 128, 1, cuda)
        torch.cuda.synchronize()
        start = time.perf_counter()
        attend(*arguments)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    assert max(seconds[1:]) < 0.05
