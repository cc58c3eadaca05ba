"""LiteLLM in its four ways: OpenAI's, vLLM's, Anthropic's and Ollama's dialect."""

from __future__ import annotations

from typing import Any

import litellm
from checks import ANSWER, MODEL, QUESTION, URL, check, done
from pydantic import BaseModel

ASKED = [{"role": "user", "content": QUESTION}]
WAYS = {
    "openai": f"{URL}/v1",
    "hosted_vllm": f"{URL}/v1",
    "anthropic": URL,
    "ollama_chat": URL,
}
THINKING: dict[str, Any] = {
    # LiteLLM sends it for models that it does not know if it is told to
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 300}, "allowed_openai_params": ["thinking"]},
    "ollama_chat": {"reasoning_effort": "low"},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds two whole numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}


class Largest(BaseModel):
    number: int


def ask(way: str, **more: Any) -> Any:
    return litellm.completion(
        model=f"{way}/{MODEL}", api_base=WAYS[way], api_key="unused", messages=ASKED, max_tokens=400, **more
    )


for way in WAYS:

    @check(f"{way}: a chat with its thought")
    def chat(way: str = way) -> None:
        message = ask(way, **THINKING.get(way, {})).choices[0].message
        assert ANSWER in message.content, message
        assert message.reasoning_content, message

    @check(f"{way}: a stream")
    def stream(way: str = way) -> None:
        parts = list(ask(way, stream=True))
        said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert ANSWER in said, said

    @check(f"{way}: a structured answer")
    def structured(way: str = way) -> None:
        Largest.model_validate_json(ask(way, response_format=Largest).choices[0].message.content)

    @check(f"{way}: a tool that must be called" if way != "ollama_chat" else f"{way}: a tool is offered")
    def tool(way: str = way) -> None:
        if way == "ollama_chat":  # Ollama's API has no word for "must"
            assert ask(way, tools=[TOOL]).choices[0].message.content
            return
        (call,) = ask(way, tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
        assert call.function.name == "add", call


done()
