"""How a model writes its thoughts: their markers, where they may be closed early, and how their answer is probed.

The format as text: `models/formats/form.py`. Here it is found by name, and becomes the tokens of a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from pathlib import Path
from typing import Annotated

from models.directory import OWN_FORMAT, beside, gguf_of
from models.files.nearest import nearest
from models.files.strict_yaml import ByName, ConfigError, read
from models.formats.ending import EndFinder, Ending
from models.formats.form import Keep as Keep
from models.formats.form import ProbeFormat as ProbeFormat
from models.formats.form import ThinkingFormat as ThinkingFormat
from models.formats.form import ThoughtState as ThoughtState
from models.formats.form import TransitionFormat as TransitionFormat
from models.formats.matching import Unshown
from models.formats.transitions import TransitionPoints
from models.gguf.keys import THINKING
from models.kinds.kind import AnswerForm, AnswerKind
from models.shipped import shipped_configs
from models.tokenizer import Vocabulary


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


def read_format(model: Path, override: Path | None = None) -> ThinkingFormat | None:
    """The thinking format `override` (a file or name), else that of the model's `laser.yaml`; None: there is none.

    A GGUF file may carry the text of such a file; one beside it goes before that. Where there is none, the model's
    files tell: `models.formats.recognition.choose_format`.
    """
    if override is not None:
        return read(override if override.is_file() else format_file(str(override)), ThinkingFormat)
    file = beside(model, OWN_FORMAT)
    if file.is_file():
        return read(file, ThinkingFormat)
    gguf = gguf_of(model)
    carried = None if gguf is None else gguf.text(THINKING)
    return None if carried is None else read(model, ThinkingFormat, text=carried)


def format_source(model: Path, override: Path | None = None) -> str:
    """Returns in words how `read_format` comes by a thinking format, where there is one."""
    if override is not None:
        return f"named, {override.name}"
    return f"the model's {OWN_FORMAT}" if beside(model, OWN_FORMAT).is_file() else "the one in the model's file"


class ThinkingTokens:
    """A thinking format as the token ids of a given tokenizer, which the serving loop compares and forces.

    A closing marker that is one token is found by its id. Any other is found in the text, since a model may spell it
    by other tokens than the tokenizer does, and one token may hold its last letters and the next word's first.
    """

    def __init__(self, form: ThinkingFormat, tokenizer: Vocabulary) -> None:
        self.format = form
        self._tokenizer = tokenizer
        self._texts = tokenizer.texts
        self.open = tuple(tokenizer.encode(form.open)) if form.open else ()
        self.close = tuple(tokenizer.encode(form.closers[0]))  # as the tokenizer spells it
        self.opening = tuple(tokenizer.encode(form.opening)) if form.opening else ()
        self.landing = tuple(tokenizer.encode(form.landing))  # before a box
        texts = {form.landing_for(kind, each) for kind in AnswerKind for each in AnswerForm}
        self._landings = {text: tuple(tokenizer.encode(text)) for text in texts}
        self.longest_landing = max(map(len, self._landings.values()))
        self.probe_suffix = tuple(tokenizer.encode(form.probe.suffix))
        self.probe_stops = self.stops_with(form.probe.stops)
        if not self.probe_stops:
            raise ConfigError(f"no token of the vocabulary contains a probe stop: {form.probe.stops}")
        closing = f"\n{form.closers[0]}\n\n" if form.closing is None else form.closing
        self.closing = () if form.in_the_open else tuple(tokenizer.encode(closing))
        self._check()
        self._empty = closing
        self._points = TransitionPoints(
            paragraphs=form.transitions.paragraphs,
            words=form.transitions.words,
            texts=self._texts,
            encode=tokenizer.encode,
        )
        self.lookback = self._points.lookback  # the largest result of `transition`

    @property
    def open_id(self) -> int | None:
        """The token that begins a thought; None: no single one does."""
        return self.open[0] if len(self.open) == 1 else None

    @property
    def close_id(self) -> int | None:
        """The token that ends a thought; None: no single one does."""
        alone = len(self.close) == 1 and len(self.format.closers) == 1 and not self.format.in_the_open
        return self.close[0] if alone else None

    @property
    def watched(self) -> int | None:
        """The token with which a closing marker begins; None: thoughts in the open have none."""
        return None if self.format.in_the_open else self.close[0]

    @property
    def singles(self) -> frozenset[int]:
        """The markers that are one token each."""
        return frozenset(token for token in (self.open_id, self.close_id) if token is not None)

    def finder(self, starts: Sequence[str] = ()) -> EndFinder | None:
        """Returns what finds the end of one thought in its text; None: the token `close_id` ends it.

        `starts`: texts with which the answer may begin although no marker has closed the thought.
        """
        if self.close_id is not None and not starts:
            return None
        return EndFinder(self.format.closers, self._tokenizer.stream, starts)

    def ending(self, tokens: Sequence[int]) -> Ending:
        """Returns the place of the closing marker in tokens that close a thought. Raises ValueError if it is not there.

        In the open all of them belong to the answer.
        """
        if self.format.in_the_open:
            return Ending(start=0, end=0)
        finder = self.finder()
        if finder is None:
            place = tuple(tokens).index(self.close[0])
            return Ending(start=place, end=place + 1)
        found = next((found for token in tokens if (found := finder.push(token)) is not None), None)
        if found is None:
            raise ValueError(f"no closing marker among {len(tokens)} tokens")
        return found

    def landing_for(self, kind: AnswerKind, form: AnswerForm) -> tuple[int, ...]:
        """Returns the tokens that close a thought which is cut before an answer of this kind and form."""
        return self._landings[self.format.landing_for(kind, form)]

    def keep_of(self, suffix: Sequence[int]) -> int:
        """The number of tokens of a probe's suffix up to and including the closing marker.

        In the open these are the leading tokens of the suffix that say nothing of the answer but that it follows.
        """
        if not self.format.in_the_open:
            return self.ending(suffix).end
        text, lead = self._tokenizer.decode, self.format.lead(self.format.probe.suffix)
        return max(count for count in range(len(suffix) + 1) if lead.startswith(text(suffix[:count])))

    @cached_property
    def lead(self) -> tuple[int, ...]:
        """The tokens that stand between the closing marker and any answer: what the reader does not see of a closing.

        They are those of the landing, else those behind an empty thought.
        """
        for closing in () if self.format.in_the_open else (self.landing, self.closing):
            lead = closing[self.ending(closing).end :]
            said = "".join(map(self._text, lead))
            for unseen in self.format.unshown:
                said = said.replace(unseen, "")
            if not said.strip():
                return lead
        return ()

    @property
    def ids(self) -> frozenset[int]:
        """Every token that may be forced or searched for."""
        landings = (token for landing in self._landings.values() for token in landing)
        return frozenset((*self.opening, *landings, *self.probe_suffix, *self.closing))

    def state(self, prompt: Sequence[int], turns: AbstractSet[int] = frozenset()) -> ThoughtState:
        """What a prompt's last turn says of its thought; a token of `turns` begins or ends a turn.

        A marker of several tokens is looked for by its ids if a token of it is a control token, else in the text.
        """
        if self.format.in_the_open:
            return ThoughtState.NOT_BEGUN
        spelled: list[tuple[str, ThoughtState]] = []
        known: list[tuple[tuple[int, ...], ThoughtState]] = []
        for ids, texts, state in (
            (self.open, (self.format.open,), ThoughtState.OPEN),
            (self.close, self.format.closers, ThoughtState.CLOSED),
        ):
            if len(ids) == 1 or self._controls(ids):
                known.append((ids, state))
            if len(ids) > 1 and not self._controls(ids):
                spelled += [(text, state) for text in texts]
        prompt = tuple(prompt)
        for end in range(len(prompt), 0, -1):
            for ids, state in known:
                if prompt[max(0, end - len(ids)) : end] == ids:
                    behind = self._spelled(prompt[end:], spelled)
                    return state if behind is None else behind
            if prompt[end - 1] in turns:
                return self._spelled(prompt[end:], spelled) or ThoughtState.NOT_BEGUN
        return self._spelled(prompt, spelled) or ThoughtState.NOT_BEGUN

    def just_opened(self, prompt: Sequence[int]) -> bool:
        """Whether nothing visible stands behind the last opening marker of a prompt, which ends inside a thought."""
        end = next((end for end in range(len(prompt), 0, -1) if self._text(prompt[end - 1]).strip()), 0)
        marker = self.format.open.rstrip()
        most = len(marker.encode())  # tokens that may spell it
        return self._tokenizer.decode(prompt[max(0, end - most) : end]).rstrip().endswith(marker)

    def _spelled(self, tokens: Sequence[int], markers: Sequence[tuple[str, ThoughtState]]) -> ThoughtState | None:
        """Returns the state behind the last marker in the text of `tokens`; None: there is no marker."""
        if not markers or not tokens:
            return None
        text = self._tokenizer.decode(tokens)
        at, state = max(((text.rfind(marker), state) for marker, state in markers), key=lambda found: found[0])
        return state if at >= 0 else None

    @cached_property
    def markers(self) -> frozenset[int]:
        """Every token that has no place behind a closed thought: `silent` ones, and control tokens inside markers."""
        return self.silent.union(self._controls(self.open), self._controls(self.close))

    @cached_property
    def silent(self) -> frozenset[int]:
        """Every token whose text has the opening or the closing marker."""
        if self.format.in_the_open:
            return frozenset()
        marks = self.format.open, *self.format.closers
        spelled = (i for i, text in enumerate(self._texts) if any(mark in text for mark in marks))
        return frozenset((*self.singles, *spelled))

    @cached_property
    def unshown(self) -> Unshown | None:
        """What `unshown_beside` returns where no tools are offered."""
        return self.unshown_beside()

    def unshown_beside(self, kept: Collection[str] = ()) -> Unshown | None:
        """The texts that no reader may see; None: there are none but tokens. `kept`: others need these in the answer.

        A marker in brackets is kept out of the whole answer, one in words, which an answer may use, only out of its
        beginning: there it is a second closing marker.
        """
        form = self.format
        single = self.open_id is not None and self.close_id is not None
        if form.in_the_open or (single and not form.seams and not form.unshown):
            return None
        marks = () if single else (form.open, *form.closers)
        parts = (
            self._text(token) for mark in (self.open, self.close) if len(mark) > 1 for token in self._controls(mark)
        )
        answer = [*form.unshown, *(mark for mark in marks if _WRAPPED.fullmatch(mark)), *parts]
        return Unshown(
            thought=dict.fromkeys(form.seams, "\n\n"),
            answer={mark: "" for mark in answer if not any(each in mark for each in kept)},
            head=tuple(mark for mark in marks if not _WRAPPED.fullmatch(mark)),
        )

    def _controls(self, marker: Sequence[int]) -> tuple[int, ...]:
        """Returns the tokens of a marker that are words in brackets, as control tokens are."""
        return tuple(token for token in marker if _WRAPPED.fullmatch(self._text(token)))

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
        """The number of tokens from a transition point to the end of `thought`; see `TransitionPoints.last`."""
        return self._points.last(thought)

    def _check(self) -> None:
        """Raises ConfigError if the tokens of a text do not keep its marker."""
        if self.format.in_the_open:
            return
        texts = [("probe.suffix", self.probe_suffix), *(("landing", ids) for ids in self._landings.values())]
        for name, ids in (("the closing of an empty thought", self.closing), *texts):
            try:
                self.ending(ids)
            except ValueError as error:
                marker = self.format.closers[0]
                raise ConfigError(f"{name} does not keep its marker {marker!r} in this vocabulary") from error
        said = self._tokenizer.decode(self.opening)
        opened = self.open_id in self.opening if self.open_id is not None else self.format.open in said
        if not opened:
            raise ConfigError(f"opening does not keep its marker {self.format.open!r} in this vocabulary")

    def after_words(self, kind: AnswerKind = AnswerKind.SHORT, form: AnswerForm = AnswerForm.BOX) -> tuple[int, ...]:
        """Returns what closes a thought behind words of a client's: the answer begins as behind the landing."""
        landing = self.landing_for(kind, form)
        if self.format.in_the_open:
            return landing
        if self.close_id is not None:
            return self.closing[: self.closing.index(self.close_id)] + landing[landing.index(self.close_id) :]
        at, text, empty = self._first, self.format.landing_for(kind, form), self._empty
        return tuple(self._tokenizer.encode(empty[: at(empty)] + text[at(text) :]))

    def stops_with(self, texts: Sequence[str]) -> frozenset[int]:
        """Returns the tokens whose text contains one of `texts`."""
        return frozenset(i for i, text in enumerate(self._texts) if any(stop in text for stop in texts))

    def encode(self, text: str) -> tuple[int, ...]:
        """Returns the tokens of a text of the format."""
        return tuple(self._tokenizer.encode(text))

    def _first(self, text: str) -> int:
        """Returns where the closing marker begins in a text that has it."""
        return min(at for closer in self.format.closers if (at := text.find(closer)) >= 0)

    def _text(self, token: int) -> str:
        return self._texts[token] if token < len(self._texts) else ""  # a model's last logits may have no token


_WRAPPED = re.compile(r"\s*[<\[{|＜【].*\w.*[>\]}|＞】]\s*", re.DOTALL)
