"""Loads a model for serving: the chat model, its engine, the policy, and the serving loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from controller.policies.restricted import standing
from controller.serving.admission import AdmissionLimits
from controller.serving.loop import ServingLoop
from controller.serving.repetition import LoopDetection
from controller.serving.request import Outcome
from engine.base import CapacityError, CorruptModelError, Engine
from engine.fitting.fit import fitted
from engine.inventory import check_weights
from engine.options import Opened
from laser.server.config import ServeConfig, model_name
from laser.server.engine_process.served import ServedModel, read_chat
from laser.server.engine_thread import EngineThread
from laser.server.policy_choice import ChosenPolicy, choose_policy
from laser.server.telemetry.gains import Gains
from models.chat_model import ChatModel
from models.directory import check_place
from models.grammar.compiling import Grammars
from models.profile.corners import corners
from models.reasoner import bundled_model, known_to

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A loaded model, ready to serve."""

    model_id: str
    chat: ChatModel
    engine: Engine
    opened: Opened  # the engine as it was opened, before any wrapper
    loop: ServingLoop
    chosen: ChosenPolicy
    config: ServeConfig
    gains: Gains
    grammars: Grammars  # that answers are held to
    knows: str | None = None  # what the model can be asked; None: it is not the bundled one

    @property
    def served(self) -> ServedModel:
        """What prompts are prepared for."""
        profile, certifying = self.chosen.profile, self.chosen.certifying
        return ServedModel(
            model_id=self.model_id,
            config=self.config,
            chat=self.chat,
            room=self.loop.room,
            engine=self.engine.capabilities.engine,
            knows=self.knows,
            difficulty=None if profile is None else profile.difficulty,
            tells_length=self.chosen.order.forecast is not None,
            grammars=self.grammars,
            certified=None if certifying is None else corners(standing(certifying)),  # nobody pays for these
            switch=None if certifying is None or certifying.cut_offs is None else certifying.cut_offs.switch,
        )

    def connect(self, left: Callable[[Outcome], None]) -> EngineThread:
        """Returns the engine, which will run on a thread of this process; `left` as in EngineClient."""
        self.grammars.warm_up()
        return EngineThread(self.loop, chosen=self.chosen, gains=self.gains, left=left)


def deploy(
    config: ServeConfig,
    wrap: Callable[[Engine], Engine] = lambda engine: engine,
    stage: Callable[[str], None] = lambda name: None,
    *,
    late: bool = False,
) -> Deployment:
    """Loads what a configuration names. `wrap` may put a wrapper between the loop and the engine.

    `stage` is told the name of each stage as it begins. `late`: a controller is made once requests are served.

    Raises FileNotFoundError if there is no bundled model; EngineError, TokenizerError, ConfigError or ProfileError if
    the directory cannot be served. Each message is one line that names the file.
    """
    import torch

    torch.set_num_threads(config.threads)
    stage("tokenizer")
    directory = config.model if config.model is not None else bundled_model()
    check_place(directory, CorruptModelError)
    chat = read_chat(config)
    note = chat.tokenizer.note  # reads the file again
    if note is not None:
        log.warning("%s", note)
    if chat.doubt and config.thinking is not None:
        log.warning("thinking %s: %s", config.thinking.stem, chat.doubt)
    if chat.defaults.unused:
        unused, file = ", ".join(chat.defaults.unused), "" if directory.is_file() else "/generation_config.json"
        log.warning("%s%s has settings that are not used: %s", directory.name, file, unused)
    stage("policy")
    check_weights(directory)  # damaged weights are told as such, not as others than the profile's
    # reads its files: a bad one is told before the weights are loaded
    chosen = choose_policy(config, directory, chat, late=late)
    stage("weights")
    try:
        return _deployed(config, directory, chat, chosen, wrap)
    except BaseException:
        chosen.close()
        raise


def _deployed(
    config: ServeConfig, directory: Path, chat: ChatModel, chosen: ChosenPolicy, wrap: Callable[[Engine], Engine]
) -> Deployment:
    options = fitted(directory, config.engine_options.on_threads(config.threads))
    config = replace(config, cells=options.cells_taken)
    opened = options.open(directory)
    chat = replace(chat, rows=opened.vocabulary)
    engine = wrap(opened.engine)
    grammars = chat.grammars(ahead=True)
    loop = ServingLoop(
        engine=engine,
        tokenizer=chat.tokenizer,
        thinking=chat.thinking,
        policy=chosen.policy,
        stop_tokens=chat.stop_tokens,
        clock=time.monotonic,
        score=config.score or chat.thinking.format.probe.score,
        observer=chosen.observer,
        admission=AdmissionLimits(
            slots=options.max_batch, max_waiting=config.max_waiting, max_wait_s=config.max_wait_s
        ),
        loops=LoopDetection() if config.loop_detection else None,
        rows=opened.vocabulary,
        every_probe=chosen.profile is not None,  # a profile was measured, and is certified, with all of them
        certified=chosen.certified,
        grammars=grammars,
        order=chosen.order,
    )
    unknown = [token for token in chat.needed if token >= opened.vocabulary]
    if unknown:
        text = "".join(chat.tokenizer.texts[min(unknown) : min(unknown) + 1])
        raise CorruptModelError(
            f"{directory}: the tokenizer's token {min(unknown)} ({text!r}) is needed, the model has {opened.vocabulary}"
        )
    shortest = len(chat.prompt([{"role": "user", "content": "?"}]))
    if loop.room <= shortest:
        least = engine.max_tokens - loop.room + shortest + 1
        raise CapacityError(f"a sequence may have {engine.max_tokens} tokens here, needs at least {least}: see cells")
    return Deployment(
        model_id=model_name(config),
        chat=chat,
        engine=engine,
        opened=opened,
        loop=loop,
        chosen=chosen,
        config=config,
        gains=Gains(chosen, options.max_batch),
        grammars=grammars,
        knows=known_to(directory),
    )
