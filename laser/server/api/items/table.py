"""What is done with the fields inside a request to /v1/responses, where `laser.server.api.dialects` does not say it."""

from __future__ import annotations

from collections.abc import Mapping

from laser.server.api.base import Fields
from laser.server.api.dialects import PART, PLACES, Indifferent, Read, Refused, Treatment

NAMESPACE = Refused(("",), "a tool has one name here")
ITEM: Mapping[str, Treatment] = {
    **dict.fromkeys(("type", "call_id"), Read.READ),
    **dict.fromkeys(("id", "status", "caller"), Indifferent.UNSAID),
    "namespace": NAMESPACE,
}
RESPONSES_PLACES: Mapping[str, Mapping[str, Treatment]] = {
    **PLACES,
    "input.function_call": {
        **ITEM,
        **dict.fromkeys(("name", "arguments"), Read.READ),
        "async": Refused((False,)),
    },
    "input.function_call_output": {
        **ITEM,
        "output": Read.READ,
        "name": Indifferent.UNSAID,  # the call's own is used
    },
    "input.function_call_output.output": PART,
    "tools": {
        **dict.fromkeys(("type", "name", "description", "parameters", "strict"), Read.READ),
        "cache_control": Indifferent.UNSAID,
        "output_schema": Indifferent.TOLD,  # no chat template has a place for it
        **dict.fromkeys(("defer_loading", "async"), Refused((False,))),
        "allowed_callers": Refused((["direct"],)),
    },
    "tool_choice": dict.fromkeys(("type", "name", "mode", "tools"), Read.READ),
    "tool_choice.tools": dict.fromkeys(("type", "name"), Read.READ),
}


class ItemPart(Fields):
    """An object in a request to /v1/responses."""

    @classmethod
    def known(cls) -> Mapping[str, Treatment]:
        return RESPONSES_PLACES.get(cls.place, {})
