"""A grammar that cannot be used is refused in one line, which names the field, the keyword and its place."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from llguidance import LLMatcher

from models.grammar import compiling, faults
from models.grammar.compiling import KEPT, CompiledGrammar, Grammars
from models.grammar.grammar import MOST_TEXT, Grammar, GrammarError, GrammarKind
from models.grammar.vocabulary import GrammarVocabulary
from models.tokenizer import ChatTokenizer

FIELD = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}},
            "the keyword uniqueItems at #/properties/x is not done here",
        ),
        ({"not": {"type": "string"}}, "the keyword not at # is not done here"),
        ({"anyOf": [{}, {"if": {}, "then": {}}]}, "the keyword if at #/anyOf/1 is not done here"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "the keyword oneOf at # is done only where"),
        ({"type": "object", "minProperties": 3, "required": ["a", "b"]}, "minProperties is 3 at #, must be at most 2"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "iri"}, "format: iri"),
        ({"type": "text"}, "Invalid type: text"),
        ({"$ref": "#/$defs/x"}, "/x"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        (False, "is false: no answer validates it"),
        ({"x-guidance": {"lenient": True}, "uniqueItems": True}, "the keyword uniqueItems"),
    ],
    ids=str,
)
def test_a_schema_that_is_not_done_is_refused_by_keyword_and_place(
    grammars: Grammars, schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(GrammarError) as error:
        grammars.compiled(Grammar.json_schema(schema, asked_by=FIELD))
    assert str(error.value).startswith(f"{FIELD}: ")
    assert said in str(error.value)
    assert error.value.asked_by == FIELD
    assert len(error.value.lines) == 1


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (GrammarKind.REGEX, "(a", "unclosed group"),
        (GrammarKind.REGEX, "a(?=b)", "look-around"),
        (GrammarKind.GRAMMAR, 'root ::= "a', "GBNF|end of input|Unexpected"),
        (GrammarKind.GRAMMAR, "start: other", "other"),
        (GrammarKind.GRAMMAR, "start: <think>", "think"),
    ],
    ids=str,
)
def test_a_grammar_that_is_wrong_is_refused(grammars: Grammars, kind: GrammarKind, text: str, said: str) -> None:
    with pytest.raises(GrammarError, match=said) as error:
        grammars.compiled(Grammar(kind=kind, text=text, asked_by="guided_grammar"))
    assert error.value.asked_by == "guided_grammar"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (
            GrammarKind.REGEX,
            "ab[z-a]c",
            "the start must be <= the end, at column 4 of the regular expression, in 'ab[z-a]c'",
        ),
        (
            GrammarKind.REGEX,
            "x" * 300 + "(" + "x" * 90,
            "unclosed group, at column 301 of the regular expression, in 'xxx",
        ),
        (GrammarKind.REGEX, "a/b\n(", "regex: unclosed group"),  # is written otherwise for llguidance
        (GrammarKind.GRAMMAR, "start: x\nx: /a(?=b)/", "line 2, column 4: look-around, "),
        (GrammarKind.GRAMMAR, "start: x\nx: /a(?=b)/", "at column 2 of the regular expression, in 'a(?=b)'"),
        (GrammarKind.GRAMMAR, "start: other", 'line 1, column 8: unknown name: "other"'),
        (GrammarKind.GRAMMAR, 'root ::= "a" [z-a]', "regex: invalid character class range, the start must be <="),
        (
            GrammarKind.JSON_SCHEMA,
            '{"type":"string","pattern":"ab("}',
            "regex: unclosed group, at column 3 of the regular",
        ),
    ],
    ids=str,
)
def test_a_place_is_told_where_it_is_one_in_what_was_written(
    grammars: Grammars, kind: GrammarKind, text: str, said: str
) -> None:
    with pytest.raises(GrammarError) as error:
        grammars.compiled(Grammar(kind=kind, text=text, asked_by="regex"))
    (line,) = error.value.lines
    assert said in line
    assert "(8)" not in line
    assert text != "a/b\n(" or "column" not in line


def test_settings_of_the_compiler_are_not_told() -> None:
    message = "lexer precomputation failed; either increase limits.initial_lexer_fuel or disable it"
    told = faults.told(Grammar(kind=GrammarKind.REGEX, text="a"), message)
    assert told == "is too complex: lexer precomputation failed"


def test_what_is_too_long_or_empty_is_refused() -> None:
    with pytest.raises(GrammarError, match=f"regex: has {MOST_TEXT + 1} characters, must be at most {MOST_TEXT}"):
        Grammar(kind=GrammarKind.REGEX, text="a" * (MOST_TEXT + 1), asked_by="regex")
    for texts, said in (([], "has 0 texts"), (["a", ""], "has an empty text")):
        with pytest.raises(GrammarError, match=f"choice: {said}"):
            Grammar.choice(texts, asked_by="choice")


def test_a_grammar_is_compiled_once_and_the_oldest_is_given_up(tokenizer: ChatTokenizer) -> None:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids)
    grammars = Grammars(lambda: vocabulary)
    first = Grammar.choice(["a"], asked_by="guided_choice")
    made = grammars.compiled(first)
    assert grammars.compiled(Grammar.choice(["a"], asked_by="structured_outputs.choice")) is made
    for number in range(KEPT):
        grammars.compiled(Grammar.choice([str(number)], asked_by="choice"))
    assert grammars.compiled(first) is not made


def test_what_is_too_complex_to_be_measured_is_refused_each_time_and_searched_once(tokenizer: ChatTokenizer) -> None:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids)
    grammars = Grammars(lambda: vocabulary, ahead=True)
    nested = Grammar(kind=GrammarKind.REGEX, text="((((a{1,30}){1,30}){1,30}){1,30})")
    made = grammars.compiled(nested)
    assert grammars.compiled(nested) is made
    for _ in range(2):
        with pytest.raises(GrammarError, match="too complex"):
            made.measure()


class Panic(BaseException):
    """As pyo3 raises it for a panic of Rust's: no Exception."""


class PanickingMatcher:
    """A grammar's matcher whose copies cannot be made."""

    copies = 0

    def deep_copy(self) -> LLMatcher:
        self.copies += 1
        raise Panic("index out of bounds")


def test_a_panic_of_the_library_s_over_a_grammar_is_that_grammar_s_fault(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids)
    grammars = Grammars(lambda: vocabulary, ahead=True)
    asked = Grammar(kind=GrammarKind.GRAMMAR, text="start: /a/", asked_by="guided_grammar")

    def panic(text: str) -> str:
        raise Panic("unreachable\n<backtrace> of many lines")

    with monkeypatch.context() as patched:
        patched.setattr(compiling, "any_to_lark", panic)
        with pytest.raises(GrammarError) as error:
            grammars.compiled(asked)
    assert str(error.value) == "guided_grammar: cannot be worked on: unreachable"
    grammars.compiled(asked).measure()


def test_a_panic_of_the_library_s_as_a_grammar_is_measured_comes_once(tokenizer: ChatTokenizer) -> None:
    vocabulary, matcher = GrammarVocabulary(tokenizer, tokenizer.eos_ids), PanickingMatcher()
    made = CompiledGrammar(Grammar.choice(["a"], asked_by="guided_choice"), vocabulary, matcher)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(GrammarError, match="cannot be worked on: index out of bounds"):
            made.measure()
    assert matcher.copies == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_whoever_ends_the_process_is_no_grammar_s_fault(
    tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.eos_ids)

    def end(text: str) -> str:
        raise kind

    monkeypatch.setattr(compiling, "any_to_lark", end)
    with pytest.raises(kind):
        Grammars(lambda: vocabulary).compiled(Grammar(kind=GrammarKind.GRAMMAR, text="start: /a/"))


def test_masks_are_as_wide_as_the_model_s_rows(tokenizer: ChatTokenizer) -> None:
    known = len(tokenizer.token_bytes)
    for rows in (known - 40, known + 100):
        wide = GrammarVocabulary(tokenizer, tokenizer.eos_ids, rows)
        match = Grammars(partial(_same, wide)).compiled(Grammar.json_schema({}, asked_by="json")).begin(10)
        assert match.mask().size == -(-rows // 32)
        assert not any(int(match.mask()[token // 32]) >> token % 32 & 1 for token in range(known, rows))


def _same(vocabulary: GrammarVocabulary) -> GrammarVocabulary:
    return vocabulary
