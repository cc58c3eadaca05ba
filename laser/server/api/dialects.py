"""The request fields of OpenAI, vLLM, SGLang, llama.cpp's server and Ollama, and what this server does with each.

A field is read, refused or indifferent. A refused one changes the reply and is not done here: it is an error unless its
value is a usual one, with which the reply is as if the field were left out; null always is. `docs/api.md` shows the
tables, and tests hold them to the request models and to the lists of the other servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any


class Read(Enum):
    """A field of the request model, or of the template."""

    READ = "read"


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that changes the reply and is not done here."""

    usual: tuple[Any, ...] = ()  # values that change nothing, besides null
    instead: str = ""  # what the client may do

    def spares(self, value: object) -> bool:
        """Whether the reply is the same without the field."""
        return value is None or any(_same(value, usual) for usual in self.usual)


class Indifferent(Enum):
    """A field that no text of a reply depends on."""

    UNSAID = "unsaid"
    TOLD = "told"  # asks for something beside the reply that is not given: it is named as ignored, unless it is off


Treatment = Read | Refused | Indifferent


def _same(value: object, usual: object) -> bool:
    """Whether two values are the same JSON: true is no 1, but 1.0 is."""
    return isinstance(value, bool) == isinstance(usual, bool) and value == usual


def _refused(*usual: Any, instead: str = "") -> Refused:
    return Refused(usual, instead)


def _each(names: str, treatment: Treatment) -> dict[str, Treatment]:
    return dict.fromkeys(names.split(), treatment)


CHAT, COMPLETIONS, RESPONSES, TOKENIZE, DETOKENIZE, CONTROL = ENDPOINTS = (
    "chat", "completions", "responses", "tokenize", "detokenize", "control",
)  # fmt: skip
REPLIES = (CHAT, COMPLETIONS, RESPONSES)

READ: Mapping[str, str] = {
    "chat": """
        model stream temperature top_p top_k seed stop n service_tier laser reasoning_effort reasoning thinking
        thinking_token_budget reasoning_budget_tokens thinking_budget_tokens reasoning_budget thinking_budget
        reasoning_budget_message chat_template_kwargs enable_thinking think include_reasoning
        min_p presence_penalty frequency_penalty repetition_penalty logit_bias min_tokens ignore_eos stop_token_ids
        logprobs top_logprobs return_tokens_as_token_ids
        response_format structured_outputs guided_json guided_regex guided_choice guided_grammar json_schema regex ebnf
        grammar
        messages stream_options max_tokens max_completion_tokens continue_final_message add_generation_prompt
        tools tool_choice parallel_tool_calls
        """,
    "completions": """
        model stream temperature top_p top_k seed stop n service_tier laser reasoning_effort reasoning thinking
        thinking_token_budget reasoning_budget_tokens thinking_budget_tokens reasoning_budget thinking_budget
        reasoning_budget_message chat_template_kwargs enable_thinking think include_reasoning
        min_p presence_penalty frequency_penalty repetition_penalty logit_bias min_tokens ignore_eos stop_token_ids
        logprobs best_of echo return_tokens_as_token_ids
        response_format structured_outputs guided_json guided_regex guided_choice guided_grammar json_schema regex ebnf
        grammar
        prompt stream_options max_tokens
        """,
    "responses": """
        model stream temperature top_p top_k seed stop n service_tier laser reasoning_effort reasoning thinking
        thinking_token_budget reasoning_budget_tokens thinking_budget_tokens reasoning_budget thinking_budget
        reasoning_budget_message chat_template_kwargs enable_thinking think include_reasoning
        min_p presence_penalty frequency_penalty repetition_penalty logit_bias min_tokens ignore_eos stop_token_ids
        top_logprobs include tools tool_choice parallel_tool_calls
        response_format structured_outputs guided_json guided_regex guided_choice guided_grammar json_schema regex ebnf
        grammar
        input instructions max_output_tokens previous_response_id text
        """,
    "tokenize": "prompt content messages",
    "detokenize": "tokens",
    "control": "id action",
}
KEPT_NOWHERE = "nothing is stored here, send the whole conversation"
BESIDE = "its fields stand in the body itself"
BLANKS = "structured_outputs.disable_any_whitespace is read"

SHAPING: Mapping[str, Treatment] = {  # what would shape the text of a reply, or what it is made from
    # OpenAI
    "logprobs": _refused(False, instead="a response tells them where include asks for message.output_text.logprobs"),
    "top_logprobs": _refused(0, instead="a completion has the number in logprobs"),
    "best_of": _refused(1, instead="n is read"),
    "echo": _refused(False, instead="the last message is the client's own"),
    "suffix": _refused(""),
    "tools": _refused([]),
    "tool_choice": _refused("none", "auto"),
    "functions": _refused([], instead="tools is read"),
    "function_call": _refused("none", "auto", instead="tool_choice is read"),
    "modalities": _refused(["text"]),
    "audio": _refused(),
    "verbosity": _refused("medium"),
    "web_search_options": _refused(),
    "moderation": _refused(),
    "background": _refused(False),
    "background_options": _refused({}),
    "conversation": _refused(instead=KEPT_NOWHERE),
    "context_management": _refused([]),
    "include": _refused([], ["reasoning.encrypted_content"]),
    "truncation": _refused("disabled"),
    "access_programs": _refused({}, {"cyber": "standard"}),
    # of OpenAI's client, which sends what is in them
    "extra_body": _refused({}, instead=BESIDE),
    "extra_query": _refused({}, instead="it is an argument of a client"),
    "extra_headers": _refused({}, instead="it is an argument of a client"),
    # vLLM
    "use_beam_search": _refused(False),
    "watermarking": _refused(False),
    "include_stop_str_in_output": _refused(False),
    "skip_special_tokens": _refused(True),
    "spaces_between_special_tokens": _refused(True),
    "truncate_prompt_tokens": _refused(),
    "prompt_logprobs": _refused(),
    "logprob_token_ids": _refused(),
    "allowed_token_ids": _refused(),
    "bad_words": _refused([]),
    "add_generation_prompt": _refused(True, instead="a reply is always a new turn"),
    "continue_final_message": _refused(False, instead="a reply is always a new turn"),
    "documents": _refused([]),
    "chat_template": _refused(instead="the model's own is used"),
    "structural_tag": _refused(""),
    "guided_whitespace_pattern": _refused(instead=BLANKS),
    "priority": _refused(0, instead="laser.priority is read"),
    "return_token_ids": _refused(False),
    "return_tokens_as_token_ids": _refused(False, instead="a field of chat, completions"),
    "return_prompt_text": _refused(False),
    "prompt_embeds": _refused(),
    "kv_transfer_params": _refused({}),
    "ec_transfer_params": _refused({}),
    "vllm_xargs": _refused({}),
    "repetition_detection": _refused(),
    "enable_response_messages": _refused(False),
    "previous_input_messages": _refused([], instead=KEPT_NOWHERE),
    "previous_response": _refused(instead=KEPT_NOWHERE),
    # SGLang
    "return_hidden_states": _refused(False),
    "return_routed_experts": _refused(False),
    "return_prompt_token_ids": _refused(False),
    "return_meta_info": _refused(False),
    "stop_regex": _refused("", []),
    "no_stop_trim": _refused(False),
    "lora_path": _refused(""),
    "session_params": _refused({}),
    "custom_params": _refused({}),
    "custom_logit_processor": _refused(""),
    "separate_reasoning": _refused(True),
    "stream_reasoning": _refused(True),
    "task": _refused(),
    "input_ids": _refused(),
    "bootstrap_host": _refused(),
    "bootstrap_port": _refused(),
    "bootstrap_room": _refused(),
    # llama.cpp
    "n_predict": _refused(-1, instead="max_tokens is read"),
    "n_cmpl": _refused(1, instead="n is read"),
    "n_indent": _refused(0),
    "n_probs": _refused(0, instead="logprobs is read"),
    "min_keep": _refused(0),
    "dynatemp_range": _refused(0),
    "typical_p": _refused(1),
    "top_n_sigma": _refused(-1, 0),
    "repeat_penalty": _refused(1, instead="repetition_penalty is read"),
    "dry_multiplier": _refused(0),
    "xtc_probability": _refused(0),
    "mirostat": _refused(0),
    "adaptive_target": _refused(-1),
    "samplers": _refused(),
    "grammar_lazy": _refused(False),
    "grammar_triggers": _refused([]),
    "t_max_predict_ms": _refused(0, instead="laser.deadline_ms is read"),
    "return_tokens": _refused(False),
    "response_fields": _refused([]),
    "lora": _refused([]),
    "reasoning_format": _refused("auto", "deepseek"),
    "reasoning_in_content": _refused(False),
    "thinking_forced_open": _refused(False),
    "input_prefix": _refused(""),
    "input_suffix": _refused(""),
    "input_extra": _refused([]),
    "multimodal_data": _refused([]),
    # Ollama, its own API's too
    "_debug_render_only": _refused(False),
    "options": _refused({}, instead=BESIDE),
    "format": _refused(""),
    "template": _refused("", instead="the model's own is used"),
    "system": _refused("", instead="a message with the role system is read"),
    "context": _refused([], instead=KEPT_NOWHERE),
    "raw": _refused(False),
    "images": _refused([]),
    # names of the limit and of the stops elsewhere
    "max_new_tokens": _refused(instead="max_tokens is read"),
    "max_length": _refused(instead="max_tokens is read"),
    "num_predict": _refused(-1, instead="max_tokens is read"),
    "num_ctx": _refused(instead="the server's --cells are used"),
    "stop_sequences": _refused([], instead="stop is read"),
    # other servers' samplers, and OpenRouter's choice among models
    "top_a": _refused(0),
    "tfs_z": _refused(1),
    "models": _refused([]),
}
INDIFFERENT: Mapping[str, Treatment] = {
    # OpenAI
    **_each(
        "user metadata safety_identifier store prediction parallel_tool_calls max_tool_calls image", Indifferent.UNSAID
    ),
    **_each("prompt_cache_key prompt_cache_options prompt_cache_retention", Indifferent.UNSAID),
    # vLLM: who asks, caches, media that no message has, the batching of a stream, details of what is refused
    **_each("session_id cache_salt media_io_kwargs mm_processor_kwargs stream_interval", Indifferent.UNSAID),
    **_each("length_penalty truncation_side guided_decoding_backend", Indifferent.UNSAID),
    **_each("routed_experts_prompt_start return_mm_kwargs", Indifferent.UNSAID),
    **_each("request_id return_token_offsets", Indifferent.TOLD),
    # SGLang
    **_each("extra_key ngram_corpus_id custom_labels routed_dp_rank data_parallel_rank", Indifferent.UNSAID),
    **_each("disagg_prefill_dp_rank routed_experts_start_len images_config max_dynamic_patch", Indifferent.UNSAID),
    **_each("min_dynamic_patch use_audio_in_video", Indifferent.UNSAID),
    **_each("rid return_cached_tokens_details", Indifferent.TOLD),
    # llama.cpp: slots, caches, shifts of a context that is never shifted here, details of what is refused
    **_each(
        "cache_prompt id_slot n_keep n_discard n_cache_reuse backend_sampling sse_ping_interval", Indifferent.UNSAID
    ),
    **_each("dynatemp_exponent repeat_last_n dry_base dry_allowed_length dry_penalty_last_n", Indifferent.UNSAID),
    **_each("dry_sequence_breakers xtc_threshold mirostat_tau mirostat_eta adaptive_decay", Indifferent.UNSAID),
    **_each("preserved_tokens post_sampling_probs parse_tool_calls reasoning_control", Indifferent.UNSAID),
    **_each("speculative.n_max speculative.n_min speculative.p_min speculative.type", Indifferent.UNSAID),
    **_each("timings_per_token return_progress verbose", Indifferent.TOLD),
    # Ollama
    "keep_alive": Indifferent.UNSAID,
}
HERE: Mapping[str, Mapping[str, Treatment]] = {  # what differs at an endpoint
    CHAT: {"add_special_tokens": _refused(False)},
    COMPLETIONS: {
        "add_special_tokens": _refused(True),
        "chat_template": Indifferent.UNSAID,  # none is used
        "add_generation_prompt": Indifferent.UNSAID,
    },
    RESPONSES: {
        "add_special_tokens": _refused(False),
        "stream_options": Indifferent.UNSAID,  # the usage always comes; padding against listeners never does
        "prompt": _refused(instead=KEPT_NOWHERE),
    },
    TOKENIZE: {
        "chat_template_kwargs": _refused({}),
        "add_special": _refused(False),
        "add_special_tokens": _refused(True),
        "parse_special": _refused(True),
        "with_pieces": _refused(False),
        "return_token_strs": _refused(False),
    },
}
OF_PROMPTS = """
    tools functions documents chat_template add_generation_prompt continue_final_message images system template
    prompt_embeds truncate_prompt_tokens extra_body options
    """  # what shapes a prompt too, and so its tokens

MESSAGE: Mapping[str, Treatment] = {
    "role": Read.READ,
    "content": Read.READ,
    **_each("reasoning reasoning_content", Read.READ),  # an earlier thought, which the chat template may leave out
    **_each("reasoning_details thinking", Indifferent.UNSAID),
    **_each("id status phase annotations cache_control", Indifferent.UNSAID),
    **_each("tool_calls tool_call_id", Read.READ),
    "name": Indifferent.TOLD,  # AutoGen sends it by default; templates do not read it
    "tool_name": _refused(""),
    "function_call": _refused(instead="tool_calls is read"),
    "tools": _refused([]),
    "audio": _refused(),
    "images": _refused([]),
    "refusal": _refused(""),
    "prefix": _refused(False, instead="a reply is always a new turn"),
    "partial": _refused(False, instead="a reply is always a new turn"),
}
PART: Mapping[str, Treatment] = {
    "type": Read.READ,
    "text": Read.READ,
    **_each("annotations logprobs cache_control prompt_cache_breakpoint id", Indifferent.UNSAID),
    **_each("image_url input_audio file video_url audio_url refusal", _refused()),
}
PLACES: Mapping[str, Mapping[str, Treatment]] = {  # the fields of objects in a request
    "messages": MESSAGE,
    "messages.content": PART,
    "messages.tool_calls": {
        **_each("id type function", Read.READ),
        **_each("index extra_content", Indifferent.UNSAID),
        "custom": _refused(),
    },
    "messages.tool_calls.function": _each("name arguments", Read.READ),
    "tools": {**_each("type function", Read.READ), **_each("cache_control", Indifferent.UNSAID)},
    "tools.function": {**_each("name description parameters strict", Read.READ), "cache_control": Indifferent.UNSAID},
    "tool_choice": {**_each("type function allowed_tools", Read.READ), "custom": _refused()},
    "tool_choice.allowed_tools": _each("mode tools", Read.READ),
    "tool_choice.allowed_tools.tools": _each("type function", Read.READ),
    "tool_choice.function": _each("name", Read.READ),
    "input": {
        **MESSAGE,
        "type": Read.READ,
        **_each("summary encrypted_content", Indifferent.UNSAID),  # of an earlier thought
    },
    "input.content": PART,
    "stream_options": {
        "include_usage": Read.READ,
        "include_obfuscation": Indifferent.UNSAID,  # padding against listeners
        "continuous_usage_stats": Indifferent.TOLD,
    },
    "reasoning": {
        **_each("effort enabled max_tokens exclude", Read.READ),
        "summary": _refused("auto", instead="the thought itself is sent"),
        "generate_summary": _refused("auto", instead="the thought itself is sent"),
        "context": _refused("auto", "current_turn", instead="earlier thoughts are left out"),
        "mode": _refused("standard"),
    },
    "thinking": {
        **_each("type budget_tokens", Read.READ),
        "clear_thinking": _refused(True, instead="earlier thoughts are left out"),
        "display": _refused(),
    },
    "response_format": {
        **_each("type json_schema schema", Read.READ),
        "structural_tag": _refused(),
        **_each("structures triggers format", _refused()),
    },
    "structured_outputs": {
        **_each("json regex choice grammar json_object disable_any_whitespace", Read.READ),
        "structural_tag": _refused(""),
        "whitespace_pattern": _refused(instead=BLANKS),
        "disable_additional_properties": _refused(False, instead="additionalProperties of a schema is read"),
        **_each("disable_fallback _backend _backend_was_auto", Indifferent.UNSAID),
    },
    "text": {
        "format": Read.READ,
        "verbosity": _refused("medium"),
    },
}  # fmt: skip


@cache
def treatments(endpoint: str, own: frozenset[str]) -> Mapping[str, Treatment]:
    """Returns what is done with each known field of a request at an endpoint, whose model has the fields `own`."""
    where: dict[str, list[str]] = {}
    for other in REPLIES:
        for name in READ[other].split():
            where.setdefault(name, []).append(other)
    if endpoint in ENDPOINTS and endpoint not in REPLIES:  # no reply that could be shaped, but perhaps a prompt
        wanted = frozenset(OF_PROMPTS.split()) if endpoint == TOKENIZE else frozenset[str]()
        shaping = {name: SHAPING[name] if name in wanted else Indifferent.UNSAID for name in SHAPING}
        elsewhere: dict[str, Treatment] = dict.fromkeys(where, Indifferent.UNSAID)
    else:
        shaping = dict(SHAPING)
        elsewhere = {name: Refused(instead=f"a field of {', '.join(others)}") for name, others in where.items()}
    return {**elsewhere, **shaping, **INDIFFERENT, **HERE.get(endpoint, {}), **dict.fromkeys(own, Read.READ)}
