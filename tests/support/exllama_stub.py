"""The ExLlamaV2 engine of the tests: everything real but the model."""

from __future__ import annotations

from typing import Any

from engine.exllama.config import ExLlamaConfig
from tests.support.history_model import MAX_POSITIONS, HistoryModel, import_exllamav2


def open_exllama(
    *, cells: int, page: int, model: HistoryModel | None = None, max_positions: int = MAX_POSITIONS, **sizes: Any
) -> Any:
    """A fresh ExLlamaEngine whose pages have so many tokens; `cells` are rounded down to whole pages."""
    dynamic = import_exllamav2()
    dynamic.PAGED_PAGE_SIZE = page  # flash-attn wants 256 on a GPU, the page table takes any
    from exllamav2 import ExLlamaV2Cache

    from engine.exllama.engine import ExLlamaEngine
    from engine.exllama.load import ExLlamaModel

    model = HistoryModel() if model is None else model
    cache = ExLlamaV2Cache(model, max_seq_len=cells // page * page)
    loaded = ExLlamaModel(model=model, cache=cache, vocabulary=model.config.vocab_size, max_positions=max_positions)
    return ExLlamaEngine(loaded, ExLlamaConfig(cells=cells, **sizes))


def check_pages(engine: Any) -> None:
    """Every page is in the table once, and none is held."""
    generator = engine._generator
    assert not generator.referenced_pages
    assert sorted(page.page_index for page in generator.unreferenced_pages.values()) == list(range(generator.max_pages))
    assert all(page.ref_count == 0 for page in generator.all_pages)
    assert all(name == page.phash for name, page in generator.unreferenced_pages.items())
