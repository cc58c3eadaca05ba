"""How a model writes its thoughts: their markers, where they may be closed early, and how their answer is probed.

One YAML file per model family: `laser.yaml` in a model's directory, or a file of configs/models/, which comes with
LASER and goes by its name. The defaults fit the `<think> … </think>` family, DeepSeek-R1 distillations and Qwen3.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from models.directory import OWN_FORMAT, beside, gguf_of
from models.files.checks import at_least
from models.files.nearest import nearest
from models.files.strict_yaml import ByName, ConfigError, read
from models.gguf.keys import THINKING
from models.score import Score
from models.shipped import shipped_configs
from models.tokenizer import Vocabulary


class Keep(StrEnum):
    """Which part of a confident probe becomes part of the reply."""

    ANSWER = "answer"  # the closing marker and the trial answer: nothing is decoded twice
    CLOSE = "close"  # only the closing marker; the model then writes its answer in its own words


class ThoughtState(StrEnum):
    """What a prompt says of the thought of the reply."""

    NOT_BEGUN = "not begun"  # neither begun nor closed
    OPEN = "open"  # begun and not closed: the model goes on inside it
    CLOSED = "closed"  # the reply has no thought


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFormat:
    """The trial answer: `suffix` follows the thought; the answer ends at a token that contains one of `stops`."""

    # text that asks a thought for its answer; it holds the closing marker
    suffix: str = "\n</think>\n\n**Final Answer**\n\\boxed{"
    stops: tuple[str, ...] = ("}",)  # texts of which one in a token ends the trial answer
    max_answer_tokens: int = 20  # longest trial answer, tokens
    score: Score = Score.GEOMETRIC_MEAN  # how the answer's token probabilities become its confidence

    def __post_init__(self) -> None:
        if not all(self.stops):
            raise ValueError("stops has an empty text, each must have at least 1 character")
        at_least(self, 1, "max_answer_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionFormat:
    """Where a thought may be closed early: at paragraph ends, and before `words` (matched as whole words)."""

    paragraphs: bool = True  # whether a thought may be closed at the end of a paragraph
    words: tuple[str, ...] = ("Wait", "Alternatively", "Hmm")  # cue words before which a thought may be closed
    min_gap: int = 16  # tokens between two probes of one thought

    def __post_init__(self) -> None:
        if not all(self.words):
            raise ValueError("words has an empty text, each must have at least 1 character")
        at_least(self, 1, "min_gap")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingFormat:
    """A model family's thinking format, as text."""

    open: str = "<think>"  # marker that begins a thought, one token
    opening: str = "<think>\n"  # appended to a prompt whose chat template does not open the thought itself
    close: str = "</think>"  # marker that ends a thought, one token
    landing: str = (  # closes a thought whose budget is spent; Qwen3's wording
        "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly "
        "now.\n</think>\n\n"
    )
    keep: Keep = Keep.ANSWER  # which part of a confident probe becomes part of the reply
    answer_reserve: int = 256  # tokens of max_tokens kept for the answer
    probe: ProbeFormat = field(default_factory=ProbeFormat)  # the trial answer
    transitions: TransitionFormat = field(default_factory=TransitionFormat)  # where a thought may be closed early
    conclusions: tuple[str, ...] = ()  # phrases by which a thought first states its result; only evaluation uses them

    def __post_init__(self) -> None:
        at_least(self, 1, "answer_reserve")
        for name, text in (("landing", self.landing), ("probe.suffix", self.probe.suffix)):
            if self.close not in text:
                raise ValueError(f"{name} is {text!r}, must contain the closing marker {self.close!r}")
        if not all(self.conclusions):
            raise ValueError("conclusions has an empty text, each must have at least 1 character")
        if self.open not in self.opening:
            raise ValueError(f"opening is {self.opening!r}, must contain the opening marker {self.open!r}")


def format_names() -> tuple[str, ...]:
    """Returns the names of the thinking formats that come with LASER."""
    return tuple(sorted(file.stem for file in (shipped_configs() / "models").glob("*.yaml")))


def format_file(said: str, folder: Path = Path()) -> Path:
    """Returns the file of a thinking format: a name of `format_names`, else a path relative to `folder`.

    A name goes before a file that is called so: write ./qwen3 for that file. Raises ConfigError if there is neither.
    """
    names = format_names()
    if said in names:
        return shipped_configs() / "models" / f"{said}.yaml"
    file = folder / said
    try:
        if file.is_dir():
            raise ConfigError(
                f"thinking format {file} is a directory, must be a YAML file or one of {', '.join(names)}"
            )
        if file.exists():
            return file
    except OSError as error:
        raise ConfigError(f"thinking format {file}: {error.strerror}") from error
    close = nearest(Path(said).name.removesuffix(".yaml"), names, like=0.5)
    meant = "" if close is None else f"; did you mean {close}?"
    raise ConfigError(f"thinking format {said!r} is not one of {', '.join(names)}, and {file} is no file{meant}")


FormatFile = Annotated[Path, ByName(find=format_file)]
"""As the type of a field, it makes the strict reader accept a thinking format's name there, and paths as ever."""


def read_format(model: Path, override: Path | None = None) -> ThinkingFormat:
    """The thinking format `override` (a file or name), else that of the model's `laser.yaml`, else the defaults.

    A GGUF file may carry the text of such a file; one beside it goes before that.
    """
    if override is not None:
        return read(override if override.is_file() else format_file(str(override)), ThinkingFormat)
    file = beside(model, OWN_FORMAT)
    if file.is_file():
        return read(file, ThinkingFormat)
    carried = _carried(model)
    return ThinkingFormat() if carried is None else read(model, ThinkingFormat, text=carried)


def _carried(model: Path) -> str | None:
    """Returns the text of the thinking format that a GGUF file carries; None: there is none."""
    gguf = gguf_of(model)
    return None if gguf is None else gguf.text(THINKING)


def format_source(model: Path, override: Path | None = None) -> str:
    """Returns in words how `read_format` comes by a thinking format."""
    if override is not None:
        return f"named, {override.name}"
    if beside(model, OWN_FORMAT).is_file():
        return f"the model's {OWN_FORMAT}"
    return "the default, since none is named" if _carried(model) is None else "the one in the model's file"


class ThinkingTokens:
    """A thinking format as the token ids of a given tokenizer, which the serving loop compares and forces."""

    def __init__(self, form: ThinkingFormat, tokenizer: Vocabulary) -> None:
        self.format = form
        texts = tokenizer.texts
        self.open_id = _single(tokenizer, form.open, "open")
        self.close_id = _single(tokenizer, form.close, "close")
        self.opening = tuple(tokenizer.encode(form.opening))
        self.landing = tuple(tokenizer.encode(form.landing))
        self.probe_suffix = tuple(tokenizer.encode(form.probe.suffix))
        self.probe_stops = frozenset(
            i for i, text in enumerate(texts) if any(stop in text for stop in form.probe.stops)
        )
        if not self.probe_stops:
            raise ConfigError(f"no token of the vocabulary contains a probe stop: {form.probe.stops}")
        self.closing = tuple(tokenizer.encode(f"\n{form.close}\n\n"))
        for name, ids, marker in (
            ("opening", self.opening, self.open_id),
            ("the closing of an empty thought", self.closing, self.close_id),
            ("landing", self.landing, self.close_id),
            ("probe.suffix", self.probe_suffix, self.close_id),
        ):
            if marker not in ids:
                raise ConfigError(f"{name} does not keep its marker {texts[marker]!r} as one token in this vocabulary")
        # closes a thought behind words of a client's: the answer begins as behind the landing
        self.after_words = (
            self.closing[: self.closing.index(self.close_id)] + self.landing[self.landing.index(self.close_id) :]
        )
        self._texts = texts
        spellings = (space + word for word in form.transitions.words for space in ("", " "))
        words = [tuple(tokenizer.encode(spelling)) for spelling in spellings]
        self._words = {ids[-1]: [other for other in words if other[-1] == ids[-1]] for ids in words}
        self.lookback = 1 + max(map(len, words)) if words else 0  # the largest result of `transition`

    @property
    def keep_of_suffix(self) -> int:
        """The number of tokens of the probe suffix up to and including the closing marker."""
        return self.probe_suffix.index(self.close_id) + 1

    @cached_property
    def _paragraph_ends(self) -> frozenset[int]:
        return frozenset(i for i, text in enumerate(self._texts) if "\n\n" in text)

    @property
    def ids(self) -> frozenset[int]:
        """Every token that may be forced or searched for."""
        return frozenset((*self.opening, *self.landing, *self.probe_suffix, *self.closing))

    def state(self, prompt: Sequence[int], turns: AbstractSet[int] = frozenset()) -> ThoughtState:
        """What a prompt's last turn says of its thought; a token of `turns` begins or ends a turn."""
        for token in reversed(prompt):
            if token == self.open_id:
                return ThoughtState.OPEN
            if token == self.close_id:
                return ThoughtState.CLOSED
            if token in turns:
                break
        return ThoughtState.NOT_BEGUN

    @cached_property
    def markers(self) -> frozenset[int]:
        """Every token whose text has the opening or the closing marker."""
        marks = self.format.open, self.format.close
        spelled = (i for i, text in enumerate(self._texts) if any(mark in text for mark in marks))
        return frozenset((self.open_id, self.close_id, *spelled))

    def prompt(self, rendered: Sequence[int], *, thinking: bool) -> tuple[int, ...]:
        """Completes a rendered chat to end inside an open thought or, without `thinking`, behind an empty one.

        A thought that the chat has closed stays closed.
        """
        tokens, state = tuple(rendered), self.state(rendered)
        if state is ThoughtState.CLOSED:
            return tokens
        opened = tokens if state is ThoughtState.OPEN else tokens + self.opening
        return opened if thinking else opened + self.closing

    def leaves_open(self, prompt: Sequence[int]) -> bool:
        """Whether the model goes on inside a thought: its last opening marker has no closing one after it."""
        return self.state(prompt) is ThoughtState.OPEN

    def transition(self, thought: Sequence[int]) -> int | None:
        """The number of tokens from a transition point to the end of `thought`; None: its last token reveals no point.

        A paragraph end is known at once (0). A cue word is known only with the token after it, because `Wait` may
        continue as `Waiting`; the point lies before the word.
        """
        if not thought:
            return None
        if self.format.transitions.paragraphs and self._ends_paragraph(thought):
            return 0
        if len(thought) < 2 or self._goes_on(thought[-1]):
            return None
        for ids in self._words.get(thought[-2], ()):
            start = len(thought) - 1 - len(ids)
            if start < 0 or tuple(thought[start:-1]) != ids:
                continue
            inside_a_word = (
                start > 0 and self._text(ids[0])[:1].isalnum() and self._text(thought[start - 1])[-1:].isalnum()
            )
            if not inside_a_word:
                return len(ids) + 1
        return None

    def _ends_paragraph(self, thought: Sequence[int]) -> bool:
        if thought[-1] in self._paragraph_ends:
            return True  # the blank line lies within one token, else over two
        return len(thought) > 1 and self._text(thought[-1]).startswith("\n") and self._text(thought[-2]).endswith("\n")

    def _goes_on(self, token: int) -> bool:
        first = self._text(token)[:1]
        return first.isalnum() or first in ("'", "’", "_")

    def _text(self, token: int) -> str:
        return self._texts[token] if token < len(self._texts) else ""  # a model's last logits may have no token


def _single(tokenizer: Vocabulary, marker: str, name: str) -> int:
    ids = tokenizer.encode(marker)
    if len(ids) != 1:
        does = "begins" if name == "open" else "ends"
        raise ConfigError(
            f"the model has no token {marker!r}, which {does} a thought ({name}; it is {len(ids)} tokens here): LASER "
            "serves models that think between two markers, no plain instruct models; if this one has other markers, "
            "name its format with --thinking"
        )
    return ids[0]
