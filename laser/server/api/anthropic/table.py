"""What is done with the fields of Anthropic's requests, where `laser.server.api.dialects` does not say it."""

from __future__ import annotations

from collections.abc import Mapping

from laser.server.api.dialects import MESSAGE, PLACES, Indifferent, Read, Refused, Treatment

BY_TEMPLATE = "the chat template says which earlier thoughts are read again"
KEEPS_THOUGHTS = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}

HERE: Mapping[str, Treatment] = {
    # who asks, where, and what is kept for the next request
    **dict.fromkeys(("cache_control", "diagnostics", "user_profile_id", "speed"), Indifferent.UNSAID),
    "inference_geo": Indifferent.TOLD,
    "container": Refused(),
    "mcp_servers": Refused(([],)),
    "output_format": Refused((), "output_config.format is read"),
    "context_management": Refused(({}, {"edits": []}, KEEPS_THOUGHTS), BY_TEMPLATE),
}
BLOCK: Mapping[str, Treatment] = {
    **dict.fromkeys(("type", "text"), Read.READ),
    **dict.fromkeys(("cache_control", "citations"), Indifferent.UNSAID),
}
MESSAGES_PLACES: Mapping[str, Mapping[str, Treatment]] = {
    **PLACES,
    "messages": MESSAGE,
    "messages.content": {
        **BLOCK,
        **dict.fromkeys(("thinking", "id", "name", "input", "tool_use_id", "content"), Read.READ),
        "is_error": Indifferent.TOLD,  # no chat template has a place for it
        **dict.fromkeys(("caller", "toolset_name"), Indifferent.UNSAID),
        **dict.fromkeys(("signature", "data"), Indifferent.UNSAID),  # nothing is encrypted, and nothing verified
    },
    "messages.content.content": BLOCK,  # of a tool's result
    "system": BLOCK,
    "tools": {
        **dict.fromkeys(("type", "name", "description", "input_schema", "strict"), Read.READ),
        **dict.fromkeys(("cache_control", "eager_input_streaming"), Indifferent.UNSAID),
        "input_examples": Indifferent.TOLD,  # no chat template has a place for them
        "defer_loading": Refused((False,)),
        "allowed_callers": Refused((["direct"],)),
    },
    "tool_choice": dict.fromkeys(("type", "name", "disable_parallel_tool_use"), Read.READ),
    "thinking": {**PLACES["thinking"], "display": Read.READ},
    "output_config": {"effort": Read.READ, "format": Read.READ, "task_budget": Refused()},
    "output_config.format": dict.fromkeys(("type", "schema"), Read.READ),
}  # fmt: skip
