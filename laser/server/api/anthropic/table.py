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
    "context_management": Refused(({}, {"edits": []}, KEEPS_THOUGHTS), BY_TEMPLATE),
    "tool_choice": Refused(({"type": "none"}, {"type": "auto"})),
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
        "thinking": Read.READ,
        **dict.fromkeys(("signature", "data"), Indifferent.UNSAID),  # nothing is encrypted, and nothing verified
    },
    "system": BLOCK,
    "thinking": {**PLACES["thinking"], "display": Read.READ},
    "output_config": {"effort": Read.READ, "format": Refused(), "task_budget": Refused()},
}  # fmt: skip
