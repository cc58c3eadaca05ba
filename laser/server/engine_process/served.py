"""What the HTTP side knows of a model: how its prompts are prepared, and how long they may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from controller.serving.request import Outcome
from laser.server.api.reports import Capability
from laser.server.config import ServeConfig
from laser.server.engine_process.tickets import EngineClient
from models.chat_model import ChatModel, load_chat_model
from models.grammar.compiling import Grammars
from models.profile.difficulty import Difficulty
from models.profile.levers.switch import Switch
from models.profile.tables import OperatingPoint
from models.reasoner import bundled_model

LATEST = ":latest"  # what Ollama's clients put behind a name without a tag


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that is loaded somewhere, without its weights."""

    model_id: str
    config: ServeConfig
    chat: ChatModel
    room: int  # the most tokens that a prompt and its reply may have together
    engine: str  # the engine's name
    grammars: Grammars  # that answers are held to, compiled on this side to tell what is wrong with them
    knows: str | None = None  # what the model can be asked; None: it is not the bundled one
    difficulty: Difficulty | None = None  # tells prompts' classes; None: there is no profile
    tells_length: bool = False  # requests are to tell their predicted length
    certified: tuple[OperatingPoint, ...] | None = None  # corners of what may be asked of an exit; None: anything
    switch: Switch | None = None  # tells prompts that need no thought; None: none is answered at once

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """What the model can do here."""
        can: tuple[Capability, ...] = ("completion", "structured_outputs")
        can += () if self.chat.thinking.format.plain else ("thinking",)
        return can if self.chat.call_form is None else (*can, "tools")

    def goes_by(self, name: str) -> bool:
        """Whether clients may call the model `name`: by its name, as Ollama spells that, or by one of its aliases."""
        own = name.removesuffix(LATEST)
        return self.model_id in (name, own) or any(
            fnmatchcase(each, alias) for alias in self.config.alias for each in (name, own)
        )

    def room_for(self, landing: Sequence[int] | None) -> int:
        """Returns `room` for a request whose thought is cut with `landing`; None: the thinking format's."""
        return self.room - max(0, len(landing or ()) - self.chat.thinking.longest_landing)

    def classify(self, prompt: Sequence[int]) -> str | None:
        """Returns the difficulty class of a prompt; None: the model has no profile."""
        return None if self.difficulty is None else self.difficulty.classify(prompt)

    def ease(self, prompt: Sequence[int]) -> float | None:
        """Returns the chance that a prompt needs no thought; None: no prompt is answered at once."""
        return None if self.switch is None else self.switch.score(prompt)

    def length(self, prompt: Sequence[int]) -> float:
        """Returns the predicted length of the prompt's thought, tokens; 0 unless requests are to tell it."""
        if not self.tells_length or self.difficulty is None:
            return 0.0
        return self.difficulty.expected_tokens(prompt)


def read_chat(config: ServeConfig) -> ChatModel:
    """Returns what prompts are prepared with, of the model that `config` names. Raises what `load_chat_model` does."""
    directory = bundled_model() if config.model is None else config.model
    return load_chat_model(
        directory, config.thinking, trust_markers=config.trust_markers, chat_template=config.chat_template
    )


class Loaded(Protocol):
    """A loaded model that can be served: the same for an engine in this process and for one in its own."""

    @property
    def served(self) -> ServedModel:
        """What prompts are prepared for."""

    def connect(self, left: Callable[[Outcome], None]) -> EngineClient:
        """Returns its engine, not started; `left` gets the outcomes of replies whose clients have gone."""
