"""pydantic-ai: agents over OpenAI's and Anthropic's dialect, a stream, a typed output."""

from __future__ import annotations

import asyncio
from typing import Any

from checks import ANSWER, MODEL, QUESTION, URL, add, check, done
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

SETTINGS: Any = {"max_tokens": 400, "temperature": 0}
OPENAI = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key="unused"))
ANTHROPIC = AnthropicModel(MODEL, provider=AnthropicProvider(base_url=URL, api_key="unused"))


class Largest(BaseModel):
    number: int


def thoughts(result: Any) -> list[str]:
    return [part.content for each in result.all_messages() for part in each.parts if isinstance(part, ThinkingPart)]


@check("openai: an agent, and its thought")
def ask() -> None:
    result = Agent(OPENAI, model_settings=SETTINGS).run_sync(QUESTION)
    assert ANSWER in result.output, result.output
    assert any(ANSWER in thought for thought in thoughts(result))


@check("anthropic: an agent, and its thought")
def ask_anthropic() -> None:
    thinking = {**SETTINGS, "anthropic_thinking": {"type": "enabled", "budget_tokens": 300}}
    result = Agent(ANTHROPIC, model_settings=thinking).run_sync(QUESTION)
    assert ANSWER in result.output, result.output
    assert any(ANSWER in thought for thought in thoughts(result))


@check("openai: a stream")
def stream() -> None:
    async def said() -> str:
        async with Agent(OPENAI, model_settings=SETTINGS).run_stream(QUESTION) as result:
            return str(await result.get_output())

    assert ANSWER in asyncio.run(said())


@check("openai: typed output by a tool")
def by_tool() -> None:
    result = Agent(OPENAI, output_type=Largest, model_settings=SETTINGS).run_sync(QUESTION)
    assert isinstance(result.output, Largest)


@check("openai: typed output by schema")
def by_schema() -> None:
    result = Agent(OPENAI, output_type=NativeOutput(Largest), model_settings=SETTINGS).run_sync(QUESTION)
    assert isinstance(result.output, Largest)


@check("openai: an agent that has a tool")
def tool() -> None:
    assert Agent(OPENAI, tools=[add], model_settings=SETTINGS).run_sync(QUESTION).output


done()
