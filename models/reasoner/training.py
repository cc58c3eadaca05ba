"""Training of the bundled model from a seed: traces first, then its own rollouts; resumable after a kill."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.reasoner.export import export
from models.reasoner.lessons import FILL, block, fresh_examples, own_examples
from models.reasoner.muon import Muon
from models.reasoner.network import Network, Shape
from models.reasoner.packing import Rows, visible
from models.reasoner.tokenizer import Encoder, build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Every setting that determines the trained weights, on a given number of threads."""

    seed: int = 0
    rows: int = 8
    length: int = 768  # slots per row
    block: int = 8  # steps per generated block; checkpoints fall between blocks
    blocks: int = 480  # stage 1: written traces
    peak: float = 1.0  # largest learning rate of stage 1, relative to those below
    level: float = 0.5  # share of stage 1 until the learning rate begins to fall
    curriculum_blocks: int = 80  # blocks until hard problems have their full share
    calibration_blocks: int = 24  # stage 2: own rollouts
    rollouts: int = 88  # per calibration block
    muon_lr: float = 0.012
    adam_lr: float = 0.004
    calibration_lr: float = 0.12  # first learning rate of stage 2, relative to the peak of stage 1
    warmup: int = 100  # steps
    checkpoint_every: int = 10  # blocks
    bfloat16: bool = True  # matrix products in bfloat16 where torch deems it safe; weights stay in float32
    threads: int = 2
    compile: bool = True
    shape: Shape = field(default_factory=Shape)

    @property
    def steps(self) -> int:
        """Training steps of both stages."""
        return (self.blocks + self.calibration_blocks) * self.block


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training run stands; `slot_rate` in token slots/s since the run was started or resumed."""

    stage: str
    step: int
    steps: int
    loss: float
    slot_rate: float


REFINEMENT = TrainingConfig(seed=1, blocks=160, peak=0.5, level=0.0, curriculum_blocks=0)
"""Trains a finished model further: no curriculum, one more descent of the learning rate."""

CHECKPOINT = "checkpoint.pt"


def train(
    out_dir: str | Path,
    config: TrainingConfig,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    start: str | Path | None = None,
) -> Path:
    """Train from `config.seed` and write the finished model to `out_dir`; continues where a killed run stopped.

    `start` is the directory of a finished model, of the same shape and with its tokenizer, to train further; None:
    weights and tokenizer are made anew. Raises ValueError if `out_dir` holds the checkpoint of a different
    configuration or the model of `start` has another shape, FileNotFoundError if `start` holds no model.
    """
    out = Path(out_dir)
    run = _Run(config)
    tokenizer = build_tokenizer(seed=config.seed) if start is None else run.start_from(Path(start))
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    encoder = Encoder(tokenizer)
    run.restore(out / CHECKPOINT)
    started, first = time.perf_counter(), run.done
    total = config.blocks + config.calibration_blocks
    while run.done < total:
        calibrating = run.done >= config.blocks
        for number, rows in enumerate(_block(run, encoder)):
            step = run.done * config.block + number
            loss = run.step(rows, step)
            if on_progress is not None:
                slots = (step + 1 - first * config.block) * config.rows * config.length
                rate = slots / (time.perf_counter() - started)
                stage = "calibration" if calibrating else "traces"
                on_progress(Progress(stage=stage, step=step + 1, steps=config.steps, loss=loss, slot_rate=rate))
        run.done += 1
        if run.done % config.checkpoint_every == 0 or run.done in (config.blocks, total):
            run.save(out / CHECKPOINT)
    export(run.network, tokenizer, encoder, out, seed=config.seed)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return out


def _block(run: "_Run", encoder: Encoder) -> list[Rows]:
    """The next block of rows, drawn from (seed, block number), so that a resumed run sees the same rows."""
    config, number = run.config, run.done
    rng = np.random.default_rng([config.seed, 1, number])
    slots = int(FILL * config.block * config.rows * config.length)
    examples = []
    if number >= config.blocks:
        seed = int(rng.integers(2**31))
        examples = own_examples(run.network, encoder, rng, count=config.rollouts, length=config.length, seed=seed)
        slots -= sum(made.slots for made in examples)
    progress = min(1.0, number / config.curriculum_blocks) if config.curriculum_blocks else 1.0
    examples += fresh_examples(
        encoder,
        rng,
        slots=slots,
        length=config.length,
        progress=progress,
    )
    return block(examples, rng, steps=config.block, rows=config.rows, length=config.length, pad=encoder.pad)


class _Run:
    """The state of a run: network, optimisers, and how many blocks are done."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.done = 0
        self.network = Network(config.shape)
        self.network.initialise(torch.Generator().manual_seed(config.seed))
        named = dict(self.network.named_parameters())
        matrices = [p for name, p in named.items() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in named.items() if p.ndim != 2 or "embed" in name]
        self.muon = Muon(matrices, lr=config.muon_lr)
        self.adam = torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.loss: Callable[..., Tensor] = torch.compile(self._loss, dynamic=False) if config.compile else self._loss

    def start_from(self, directory: Path) -> "PreTrainedTokenizerFast":
        """Load the weights of a finished model; returns its tokenizer. Raises as `train` says for `start`."""
        from safetensors.torch import load_file
        from transformers import PreTrainedTokenizerFast

        path = directory / "model.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"no model to start from: {path} does not exist")
        try:
            self.network.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
        except RuntimeError as error:
            raise ValueError(f"{path} holds a model of another shape: {error}") from error
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(directory)
        return tokenizer

    def _loss(
        self,
        tokens: Tensor,
        targets: Tensor,
        weights: Tensor,
        positions: Tensor,
        trace: Tensor,
        branch: Tensor,
        cut: Tensor,
    ) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.config.bfloat16):
            logits = self.network(tokens, positions, visible(trace, branch, positions, cut))
        each = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        return (each * weights.flatten()).sum() / weights.sum().clamp(min=1.0)

    def step(self, rows: Rows, step: int) -> float:
        """One update at the schedule's learning rate; returns the loss in nats per learnt token."""
        scale = learning_rate(step, self.config)
        for optimiser, peak in ((self.muon, self.config.muon_lr), (self.adam, self.config.adam_lr)):
            for group in optimiser.param_groups:
                group["lr"] = peak * scale
        loss = self.loss(*(torch.from_numpy(getattr(rows, name)) for name in rows.__slots__))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.adam.param_groups[0]["params"], 1.0)
        self.muon.step()
        self.adam.step()
        self.network.zero_grad(set_to_none=True)
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place, then move it there: a kill leaves the old or the new one."""
        state = {
            "config": asdict(self.config),
            "done": self.done,
            "network": self.network.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint if there is one. Raises ValueError if it is of another configuration."""
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True)
        different = [key for key, value in asdict(self.config).items() if state["config"].get(key) != value]
        if different:
            named = ", ".join(f"{key} = {state['config'].get(key)!r}" for key in different)
            raise ValueError(f"{path} was written with {named}: finish it with these, or delete it to start anew")
        self.done = state["done"]
        self.network.load_state_dict(state["network"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The learning rate at a step, relative to its peak.

    Stage 1: up, level, then down to 0. Stage 2: down from `calibration_lr`.
    """
    first = config.blocks * config.block
    if step >= first:
        return config.calibration_lr * (1.0 - (step - first) / (config.calibration_blocks * config.block))
    warm = min(1.0, (step + 1) / config.warmup)
    return config.peak * min(warm, (1.0 - step / first) / (1.0 - config.level))
