"""Every answer that a grammar of calls allows is read as what was demanded, in every family's form."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher, LLTokenizer

from models.grammar.grammar import Grammar, GrammarError
from models.tools.form import CallFormat
from models.tools.grammar import calls_grammar
from models.tools.offer import Calling, OfferedTool, ToolOffer
from models.tools.pieces import CallPiece
from models.tools.reader import reader_of

CITY = {"type": "string", "enum": ["Oslo", "Rome"]}
PLAN = {
    "type": "object",
    "properties": {"city": CITY, "days": {"type": "integer", "minimum": 1, "maximum": 9}, "dry": {"type": "boolean"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = (OfferedTool(name="plan", parameters=PLAN, strict=True), OfferedTool(name="stop"))
CONTROLS = "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|end|>", "<|start|>", "<|channel|>", "<|message|>"
END, FIRST, CONTROL = 0, 1, 300  # tokens: the end, bytes, control tokens


class Bytes:
    """A vocabulary of single bytes, and control tokens that no text spells."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    eos_token_id = END
    special_token_ids: tuple[int, ...] = ()

    def __init__(self, controls: tuple[str, ...]) -> None:
        self.controls = controls
        self.tokens = [b"", *(bytes([each]) for each in range(256)), *[b""] * (CONTROL - 257 + len(controls))]

    def __call__(self, text: str | bytes) -> list[int]:
        return [FIRST + each for each in (text.encode() if isinstance(text, str) else text)]

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = []
        while text:
            found = next((each for each in self.controls if text.startswith(each)), None)
            tokens += [CONTROL + self.controls.index(found)] if found else self(text[0])
            text = text[len(found or text[0]) :]
        return tokens

    def decode(self, tokens: list[int]) -> str:
        texts = (self.controls[each - CONTROL].encode() if each >= CONTROL else self.tokens[each] for each in tokens)
        return b"".join(texts).decode(errors="replace")


def walk(matcher: LLMatcher, vocabulary: Bytes, rng: random.Random, most: int = 1_000) -> str | None:
    """A random answer; None: it did not come to its end."""
    tokens: list[int] = []
    for _ in range(most):
        mask = np.zeros(-(-len(vocabulary.tokens) // 32), dtype=np.uint32)
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        allowed = [each for each in range(len(vocabulary.tokens)) if mask[each // 32] >> np.uint32(each % 32) & 1]
        assert allowed, vocabulary.decode(tokens)
        if END in allowed and (len(allowed) == 1 or rng.random() < 0.3):
            return vocabulary.decode(tokens)
        tokens.append(rng.choice([each for each in allowed if each != END]))
        assert matcher.consume_token(tokens[-1])
    return None


@pytest.mark.parametrize("controls", [(), CONTROLS], ids=["spelled", "controls"])
@pytest.mark.parametrize("form", CallFormat)
def test_what_a_grammar_allows_is_what_was_demanded(form: CallFormat, controls: tuple[str, ...]) -> None:
    vocabulary = Bytes(controls)
    tokenizer = LLTokenizer(vocabulary, eos_token=[END])  # type: ignore[arg-type]
    ids = frozenset(range(CONTROL, CONTROL + len(controls)))
    for offer in (
        ToolOffer(tools=TOOLS, calling=Calling.REQUIRED, only=frozenset(["plan"]), parallel=False),
        ToolOffer(tools=TOOLS, calling=Calling.REQUIRED),
        ToolOffer(tools=TOOLS, parallel=False),
    ):
        grammar = calls_grammar(form, offer, vocabulary, ids)
        assert grammar is not None
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar.text), log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        if offer.only is None and offer.calling is Calling.REQUIRED:
            continue  # whose tool without a schema may be called with any object, so that no walk need end
        for seed in range(3):
            text = walk(matcher.deep_copy(), vocabulary, random.Random(seed))
            if text is None:
                assert offer.calling is Calling.AUTO  # of text without an end
                continue
            reader = reader_of(form, offer.schemas, eager=False)
            pieces = [*reader.push(text), *reader.rest()]
            calls = [piece for piece in pieces if isinstance(piece, CallPiece)]
            if offer.calling is Calling.AUTO:
                assert len(calls) <= 1
                continue
            assert pieces == calls
            assert [call.name for call in calls] == ["plan"]
            arguments = json.loads(calls[0].arguments)
            assert arguments.keys() <= PLAN["properties"].keys()  # type: ignore[attr-defined]
            assert arguments["city"] in ("Oslo", "Rome")
            assert arguments["days"] in range(1, 10)


def answers(form: CallFormat, offer: ToolOffer, text: str, answer: Grammar | None = None) -> bool:
    """Whether a grammar allows an answer."""
    vocabulary = Bytes(())
    tokenizer = LLTokenizer(vocabulary, eos_token=[END])  # type: ignore[arg-type]
    grammar = calls_grammar(form, offer, vocabulary, frozenset(), answer)
    assert grammar is not None
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar.text), log_level=0)
    return matcher.try_consume_tokens(vocabulary(text)) == len(text.encode()) and matcher.is_accepting()


def test_strict_arguments_are_held_and_all_else_is_free() -> None:
    offer = ToolOffer(tools=TOOLS)
    good = '<tool_call>\n{"name": "plan", "arguments": {"city": "Oslo", "days": 3}}\n</tool_call>'
    assert answers(CallFormat.HERMES, offer, "I look. <tool or {so}")
    assert answers(CallFormat.HERMES, offer, f"I look.\n{good}\n{good}")
    assert not answers(CallFormat.HERMES, offer, good.replace("3", "30"))
    assert not answers(CallFormat.HERMES, offer, good.replace("plan", "plans"))
    free = good.replace('"plan", "arguments": {"city": "Oslo", "days": 3}', '"stop", "arguments": {"x": "<y"}')
    assert answers(CallFormat.HERMES, offer, free)
    once = ToolOffer(tools=TOOLS, parallel=False)
    assert answers(CallFormat.HERMES, once, f"I look.\n{good}")
    assert not answers(CallFormat.HERMES, once, f"{good}\n{good}")
    call = '{"name": "plan", "parameters": {"city": "Rome", "days": 1}}'
    assert answers(CallFormat.LLAMA, offer, call)
    assert answers(CallFormat.LLAMA, offer, "It is dry.")
    assert not answers(CallFormat.LLAMA, offer, '{"name": "plan", "parameters": {"city": "Paris", "days": 1}}')


def test_an_answer_without_calls_may_be_held_to_a_schema() -> None:
    schema = Grammar.json_schema({"type": "object", "properties": {"dry": {"type": "boolean"}}}, asked_by="x")
    offer = ToolOffer(tools=TOOLS)
    assert answers(CallFormat.HERMES, offer, '{"dry": true}', schema)
    assert not answers(CallFormat.HERMES, offer, "It is dry.", schema)
    assert not answers(CallFormat.HERMES, offer, '{"dry": true}', replace(schema, compact=True))
    assert answers(CallFormat.HERMES, offer, '{"dry":true}', replace(schema, compact=True))
    assert answers(CallFormat.HERMES, offer, '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>', schema)
    with pytest.raises(GrammarError, match="guided_choice: is given beside tools"):
        answers(CallFormat.HERMES, offer, "", Grammar.choice(["a"], asked_by="guided_choice"))


def test_what_is_free_needs_no_grammar() -> None:
    offer = ToolOffer(tools=TOOLS[1:])
    assert calls_grammar(CallFormat.HERMES, offer, Bytes(()), frozenset()) is None


def test_a_strict_text_that_tags_cannot_hold_is_refused_by_name() -> None:
    narrow = {"type": "object", "properties": {"city": {"type": "string", "pattern": "O.*"}}}
    offer = ToolOffer(tools=(OfferedTool(name="plan", parameters=narrow, strict=True),))
    with pytest.raises(GrammarError, match=r"tools: pattern of properties\.city of the strict tool 'plan'"):
        calls_grammar(CallFormat.CODER, offer, Bytes(()), frozenset())


def test_words_about_a_schema_are_left_out_of_a_grammar_and_its_names_are_not() -> None:
    told = {
        "type": "object",
        "description": "long",
        "properties": {"description": {"type": "string", "description": "longer"}, "title": {"enum": [{"title": 1}]}},
        "required": ["description"],
    }
    offer = ToolOffer(tools=(OfferedTool(name="plan", parameters=told, strict=True),))
    grammar = calls_grammar(CallFormat.HERMES, offer, Bytes(()), frozenset())
    assert grammar is not None
    assert "long" not in grammar.text
    call = '<tool_call>\n{"name": "plan", "arguments": {"description": "a", "title": {"title": 1}}}\n</tool_call>'
    assert answers(CallFormat.HERMES, offer, call)
    assert not answers(CallFormat.HERMES, offer, call.replace("description", "descriptio"))


@pytest.mark.parametrize("schema", [True, {}, {"type": ["string", "null"]}, {"description": "where"}])
def test_a_value_that_is_read_as_a_text_is_held_to_no_quotation_marks(schema: bool | dict[str, Any]) -> None:
    tool = OfferedTool(name="plan", parameters={"type": "object", "properties": {"city": schema}}, strict=True)
    offer = ToolOffer(tools=(tool,), calling=Calling.REQUIRED)
    call = "<tool_call>\n<function=plan>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>"
    assert answers(CallFormat.CODER, offer, call)
    (piece,) = reader_of(CallFormat.CODER, offer.schemas, eager=False).push(call)
    assert isinstance(piece, CallPiece)
    assert json.loads(piece.arguments) == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"properties": {"city": 5}}, r"tools: properties\.city of the tool 'plan' is 5, must be a JSON schema"),
        ({"properties": {"city": CITY}, "required": 5}, "tools: required of the tool 'plan' is 5, must be a list"),
    ],
)
def test_parameters_that_are_no_schema_are_refused_by_name(parameters: dict[str, Any], told: str) -> None:
    offer = ToolOffer(tools=(OfferedTool(name="plan", parameters=parameters),), calling=Calling.REQUIRED)
    with pytest.raises(GrammarError, match=told):
        calls_grammar(CallFormat.CODER, offer, Bytes(()), frozenset())
