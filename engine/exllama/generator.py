"""ExLlamaV2's generator, its page table and its jobs, driven by token ids.

A lease is a generator job: some tokens, and the pages on which to continue them. Any change to a sequence's future ends
its lease and starts another on the new tokens. The page table finds by content which of these tokens already have keys
and values, full pages by hash and the last page by comparing tokens, so that almost nothing is computed twice. The
engine relies on nothing else of ExLlamaV2 0.3.2's generator; ExLlamaV2 is archived, so the version is pinned.

Import this, and `engine.exllama.engine`, only after `engine.exllama.load.import_exllamav2` has found an attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice, pairwise
from traceback import clear_frames
from typing import Any

import torch
from exllamav2.generator import ExLlamaV2DynamicGenerator, ExLlamaV2DynamicJob

Choose = Callable[[torch.Tensor], int]
"""From raw logits (vocabulary,), float32 on the CPU, to the next token. May be called on any thread."""


class Lease(ExLlamaV2DynamicJob):  # type: ignore[misc]  # the package is untyped
    """A job of up to `room` new tokens: first those of `ahead`, forced in one pass, then those that `choose` returns.

    If `last` is False, another lease takes over before `room` is used up.
    """

    def __init__(
        self, tokens: Sequence[int], *, room: int, choose: Choose, last: bool = True, ahead: Sequence[int] = ()
    ) -> None:
        super().__init__(input_ids=torch.tensor([list(tokens)]), max_new_tokens=room)
        self._choose = choose
        self._last = last
        self.ahead = tuple(ahead)
        self.new_pages = 0  # pages it took that were free before it started
        self._fed = 0  # rows decoded or forced ahead

    @property
    def ready(self) -> bool:
        """Whether all its tokens but the newest have keys and values."""
        return bool(self.is_prefill_done())

    @property
    def due(self) -> int:
        """Tokens still to prefill."""
        sequence = self.sequences[0]
        return int(len(sequence.sequence_ids) - 1 - sequence.kv_position)

    @property
    def spent(self) -> bool:
        """Whether another lease must take over: all pages but the last are full, so that nothing need be copied."""
        return not self._last and self.new_tokens >= self.max_new_tokens - 1

    @property
    def rows(self) -> int:
        """Token rows that the lease has cost: rows prefilled because the cache lacked them, and rows decoded."""
        found = self.cached_pages * self.generator.page_size + self.cached_tokens
        return int(self.sequences[0].kv_position - self.new_tokens - found + self._fed)

    def allocate_pages(self) -> None:
        super().allocate_pages()
        # If the cache holds all earlier pages, upstream leaves the page that is then decoded into without its
        # predecessor's hash; that page then matches as the first page of any prompt that begins with its two tokens.
        for before, page in pairwise(self.sequences[0].allocated_pages):
            if page.kv_position == 0:
                page.prev_hash = before.phash

    def receive_logits(self, logits: torch.Tensor) -> tuple[torch.Tensor, None, None, None, bool]:
        """Returns the next token for logits (1, 1, padded vocabulary), in the tuple format of ExLlamaV2's sampler."""
        self._fed += 1
        raw = logits[0, 0, : self.generator.model.config.vocab_size]
        return torch.tensor([[self._choose(raw)]]), None, None, None, False

    def fed(self, tokens: Sequence[int]) -> None:
        """Record tokens that were forced ahead: all but the last have keys and values now."""
        for token in tokens:
            self.get_input_ids_list(add_to_cache=True)
            self.receive_sample(None, torch.tensor([[token]]), None, None, None, False, [])
            self._fed += 1
        self.ahead = ()


def settle(cache: Any, failure: BaseException) -> None:
    """Wait for the cache's device, and give back the memory that the failed step held; `failure` keeps its tensors.

    Raises an error if the device has failed for good: memory that torch keeps is handed out without a call of CUDA, so
    nothing else would tell before the next step.
    """
    clear_frames(failure.__traceback__)
    device = cache.key_states[0].device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def batched(leases: Iterable[Lease], most: int) -> Iterator[list[Lease]]:
    """Yields the leases in lists of at most `most`."""
    rest = iter(leases)
    while some := list(islice(rest, most)):
        yield some


class NoText:
    """Stands in for the generator's tokenizer: every token has empty text, since only token ids cross the border."""

    def get_id_to_piece_list(self, include_special_tokens: bool = False) -> NoText:
        return self

    def __getitem__(self, token: int) -> str:
        return ""


class Generator(ExLlamaV2DynamicGenerator):  # type: ignore[misc]  # the package is untyped
    """The generator over one model and cache. Its queue is always empty: a lease starts at once or not at all."""

    def __init__(self, model: Any, cache: Any, *, max_rows: int, prefill_chunk: int) -> None:
        super().__init__(
            model,
            cache,
            NoText(),
            max_batch_size=max_rows,
            max_chunk_size=prefill_chunk,
            max_q_size=1,
            filter_background_eval=False,
        )

    @property
    def free_pages(self) -> int:
        return len(self.unreferenced_pages)

    @property
    def held_pages(self) -> int:
        return len(self.referenced_pages)

    def start(self, lease: Lease, *, keep_free: int = 0) -> bool:
        """Start the lease, and return True, if a row is free and its new pages leave `keep_free` pages free."""
        self.enqueue(lease)
        lease.new_pages = lease.current_new_pages_required()
        fits = lease.new_pages + keep_free <= self.free_pages and len(self.active_jobs) < self.max_batch_size
        if fits:
            self.iterate_start_jobs([])
            assert not self.pending_jobs
            return True
        self.pending_jobs.remove(lease)
        return False

    def cancel(self, lease: Lease) -> None:
        """End a lease. Its pages are reused last, because the next lease may look for them."""
        self.access_serial += 1
        for page in lease.sequences[0].allocated_pages or ():
            page.access_serial = self.access_serial
        super().cancel(lease)

    def defrag_cache(self) -> None:
        """Does nothing: pages are read by table, wherever they lie.

        Upstream moves pages in pieces of 16 bytes that no two threads may share; with a quantised cache of few heads
        two threads do share one, and its data is lost.
        """

    def iterate_gen(self, results: list[dict[str, Any]], draft_tokens: None = None) -> None:
        """Force the `ahead` tokens of ready leases, then decode one row for each ready lease."""
        ahead = sorted((job for job in self.active_jobs if job.ahead and job.ready), key=lambda job: len(job.ahead))
        for length, leases in groupby(ahead, key=lambda job: len(job.ahead)):
            for some in batched(leases, max(1, self.model.config.max_input_len // length)):
                self._feed(some, length)
        super().iterate_gen(results, draft_tokens)

    def _feed(self, leases: Sequence[Lease], length: int) -> None:
        """Run one pass (leases, length) over each lease's newest token and all but the last of its `ahead` tokens."""
        ids, tables, starts = [], [], []
        for lease in leases:
            sequence = lease.sequences[0]
            newest = sequence.sequence_ids.torch_slice(sequence.kv_position, None)
            ids.append(torch.cat((newest, torch.tensor([lease.ahead[:-1]], dtype=torch.long)), dim=1))
            tables.append(lease.get_block_index(sequence, sequence.kv_position + length))
            starts.append(sequence.kv_position)
        self.model.forward_chunk(
            input_ids=torch.cat(ids),
            preprocess_only=True,
            attn_params=self.get_paged_params(
                len(leases),
                torch.nn.utils.rnn.pad_sequence(tables, batch_first=True),
                torch.tensor(starts, dtype=torch.int32),
                length,
            ),
            cache=self.cache,
            loras=self.current_loras,
        )
        for lease in leases:
            lease.fed(lease.ahead)

    def close(self) -> None:
        """Stop the generator's sampling threads."""
        self.sampling_pool.shutdown()
