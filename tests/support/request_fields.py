"""The request fields of other servers, and the bodies of clients, as they are known from their sources."""

from __future__ import annotations

from typing import Any

from laser.server.api.base import RequestBody
from laser.server.api.chat import ChatRequest
from laser.server.api.completions import TextRequest
from laser.server.api.dialects import CHAT, COMPLETIONS, RESPONSES
from laser.server.api.reports import ControlRequest, DetokenizeRequest, TokenizeRequest
from laser.server.api.responses import ResponsesRequest

BODIES: dict[str, type[RequestBody]] = {
    "chat": ChatRequest, "completions": TextRequest, "responses": ResponsesRequest, "tokenize": TokenizeRequest,
    "detokenize": DetokenizeRequest, "control": ControlRequest,
}  # fmt: skip
HELLO = [{"role": "user", "content": "hello"}]

# The fields of vLLM's requests beyond OpenAI's, as of its main branch in November 2026
VLLM_SHARED = """
    use_beam_search top_k min_p repetition_penalty watermarking length_penalty stop_token_ids include_stop_str_in_output
    ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens truncation_side
    prompt_logprobs logprob_token_ids allowed_token_ids bad_words add_special_tokens structured_outputs priority
    request_id session_id return_tokens_as_token_ids return_token_ids routed_experts_prompt_start return_token_offsets
    return_mm_kwargs cache_salt kv_transfer_params ec_transfer_params vllm_xargs repetition_detection
    thinking_token_budget stream_interval
"""
VLLM = {
    "chat": VLLM_SHARED
    + """
    include_reasoning echo add_generation_prompt continue_final_message documents chat_template chat_template_kwargs
    media_io_kwargs mm_processor_kwargs return_prompt_text
    """,
    "completions": VLLM_SHARED + " prompt_embeds response_format",
    "responses": """
    logit_bias top_k skip_special_tokens include_stop_str_in_output request_id mm_processor_kwargs priority cache_salt
    enable_response_messages previous_input_messages previous_response structured_outputs repetition_penalty seed stop
    ignore_eos vllm_xargs
    """,
}
FORMER_VLLM = """
    best_of guided_json guided_regex guided_choice guided_grammar guided_decoding_backend guided_whitespace_pattern
"""
SGLANG = """
    top_k min_p min_tokens regex ebnf json_schema repetition_penalty stop_token_ids stop_regex no_stop_trim ignore_eos
    skip_special_tokens lora_path session_id session_params response_format custom_params custom_logit_processor
    images_config bootstrap_host bootstrap_port bootstrap_room routed_dp_rank disagg_prefill_dp_rank data_parallel_rank
    rid extra_key cache_salt ngram_corpus_id priority custom_labels return_hidden_states return_routed_experts
    routed_experts_start_len return_cached_tokens_details return_prompt_token_ids return_token_ids return_meta_info task
    continue_final_message separate_reasoning stream_reasoning chat_template_kwargs max_dynamic_patch min_dynamic_patch
    use_audio_in_video input_ids reasoning
"""
LLAMACPP = """
    dynatemp_range dynatemp_exponent top_k top_p min_p n_predict n_indent n_keep n_discard n_cmpl n_cache_reuse stream
    stop typical_p repeat_penalty repeat_last_n presence_penalty frequency_penalty dry_multiplier dry_base
    dry_allowed_length dry_penalty_last_n dry_sequence_breakers xtc_probability xtc_threshold top_n_sigma mirostat
    mirostat_tau mirostat_eta adaptive_target adaptive_decay grammar grammar_lazy grammar_triggers preserved_tokens
    json_schema seed ignore_eos logit_bias n_probs min_keep t_max_predict_ms id_slot cache_prompt return_tokens samplers
    timings_per_token return_progress sse_ping_interval post_sampling_probs response_fields lora backend_sampling
    reasoning_format reasoning_in_content thinking_forced_open parse_tool_calls chat_template_kwargs
    add_generation_prompt reasoning_budget_tokens thinking_budget_tokens reasoning_budget_message input_prefix
    input_suffix input_extra multimodal_data
"""
OLLAMA = """
    model messages stream stream_options max_tokens seed stop temperature frequency_penalty presence_penalty top_p
    response_format tools reasoning reasoning_effort _debug_render_only suffix
    think format options keep_alive template system context raw images
"""

CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {  # bodies as clients send them where nothing special is asked for
    "openai python": (CHAT, {"messages": HELLO, "model": "little", "stream": False}),
    "openai python, parsed and streamed": (CHAT, {"messages": HELLO, "model": "little", "stream": True}),
    "openai python, a reply sent back": (
        CHAT,
        {
            "model": "little",
            "messages": [
                *HELLO,
                {
                    "content": "hi", "refusal": None, "role": "assistant", "annotations": None, "audio": None,
                    "function_call": None, "tool_calls": None, "reasoning": "hm", "reasoning_content": "hm",
                },
                *HELLO,
            ],
        },
    ),
    "every default of OpenAI's": (
        CHAT,
        {
            "messages": HELLO, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "logprobs": False,
            "top_logprobs": None, "n": 1, "response_format": {"type": "text"}, "tools": [], "tool_choice": "none",
            "parallel_tool_calls": True, "store": False, "metadata": {}, "user": "u", "modalities": ["text"],
            "service_tier": "auto", "stop": None, "stream_options": None, "temperature": 1, "top_p": 1, "seed": None,
            "verbosity": "medium", "reasoning_effort": "medium", "safety_identifier": "s", "prompt_cache_key": "k",
        },
    ),
    "every default of OpenAI's completions": (
        COMPLETIONS,
        {
            "prompt": "a", "best_of": 1, "echo": False, "frequency_penalty": 0, "logit_bias": None, "logprobs": None,
            "max_tokens": 4, "n": 1, "presence_penalty": 0, "suffix": None, "temperature": 1, "top_p": 1, "user": "",
        },
    ),
    "every default of OpenAI's responses": (
        RESPONSES,
        {
            "input": "a", "background": False, "include": [], "parallel_tool_calls": True, "store": True, "tools": [],
            "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "top_logprobs": 0,
            "truncation": "disabled", "metadata": {}, "previous_response_id": None, "instructions": None,
            "reasoning": {"effort": None, "summary": None}, "service_tier": "auto", "temperature": 1.0, "top_p": 1.0,
            "stream_options": {"include_obfuscation": True}, "max_output_tokens": 8,
        },
    ),
    "an agent of OpenAI's, without tools": (
        RESPONSES,
        {
            "input": [{"role": "user", "content": "a", "type": "message"}], "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"}, "store": False, "stream": True, "tools": [],
            "tool_choice": "auto", "parallel_tool_calls": False, "prompt_cache_key": "k", "max_output_tokens": 8,
        },
    ),
    "vLLM's bench serve": (
        CHAT,
        {
            "model": "little", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
            "max_completion_tokens": 4, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0,
        },
    ),
    "vLLM's bench serve, completions": (
        COMPLETIONS,
        {
            "model": "little", "prompt": "a", "repetition_penalty": 1.0, "max_tokens": 4, "logprobs": None,
            "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0,
        },
    ),
    "every default of vLLM's": (
        CHAT,
        {
            "messages": HELLO, "use_beam_search": False, "min_p": 0.0, "repetition_penalty": 1.0, "length_penalty": 1.0,
            "stop_token_ids": [], "include_stop_str_in_output": False, "ignore_eos": False, "min_tokens": 0,
            "skip_special_tokens": True, "spaces_between_special_tokens": True, "bad_words": [], "echo": False,
            "add_generation_prompt": True, "continue_final_message": False, "add_special_tokens": False, "priority": 0,
        },
    ),
    "a load generator": (
        CHAT,
        {
            "model": "little", "messages": HELLO, "stream": True, "max_completion_tokens": 4, "ignore_eos": False,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        },
    ),
    "llama.cpp's page": (
        CHAT,
        {
            "messages": HELLO, "stream": True, "cache_prompt": True, "reasoning_format": "auto", "max_tokens": 4,
            "timings_per_token": True, "return_progress": True, "min_p": 0, "typical_p": 1, "xtc_probability": 0,
            "repeat_penalty": 1.0, "repeat_last_n": 64, "dry_multiplier": 0, "top_k": 40, "top_p": 0.95,
        },
    ),
}  # fmt: skip
