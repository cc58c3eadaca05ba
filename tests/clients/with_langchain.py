"""LangChain: chats over the three dialects, structured output both ways, an agent of two tools."""

from __future__ import annotations

from typing import Any

from checks import ANSWER, MODEL, QUESTION, URL, add, check, done, largest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

OPENAI = ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key="unused", max_tokens=400, temperature=0)
ANTHROPIC = ChatAnthropic(
    model=MODEL, base_url=URL, api_key="unused", max_tokens=400, thinking={"type": "enabled", "budget_tokens": 300}
)
OLLAMA = ChatOllama(model=MODEL, base_url=URL, num_predict=400, temperature=0, reasoning=True)
CHATS: dict[str, Any] = {"openai": OPENAI, "anthropic": ANTHROPIC, "ollama": OLLAMA}


class Largest(BaseModel):
    """The largest number."""

    number: int = Field(description="the largest of the numbers")


for name, chat in CHATS.items():

    @check(f"{name}: a chat")
    def ask(chat: Any = chat) -> None:
        assert ANSWER in chat.invoke(QUESTION).text

    @check(f"{name}: a stream")
    def stream(chat: Any = chat) -> None:
        assert ANSWER in "".join(piece.text for piece in chat.stream(QUESTION))


@check("anthropic: the thought is a block")
def thought() -> None:
    kinds = [block["type"] for block in ANTHROPIC.invoke(QUESTION).content_blocks]
    assert kinds == ["reasoning", "text"], kinds


@check("ollama: the thought is beside the answer")
def beside() -> None:
    assert ANSWER in OLLAMA.invoke(QUESTION).additional_kwargs["reasoning_content"]


@check("openai: with_structured_output by schema")
def by_schema() -> None:
    assert isinstance(OPENAI.with_structured_output(Largest, method="json_schema").invoke(QUESTION), Largest)


@check("openai: with_structured_output by a tool")
def by_tool() -> None:
    assert isinstance(OPENAI.with_structured_output(Largest, method="function_calling").invoke(QUESTION), Largest)


@check("ollama: with_structured_output by schema")
def by_format() -> None:
    assert isinstance(OLLAMA.with_structured_output(Largest, method="json_schema").invoke(QUESTION), Largest)


@check("openai: an agent of two tools")
def agent() -> None:
    made = create_agent(OPENAI, [tool(add), tool(largest)])
    said = made.invoke({"messages": [{"role": "user", "content": QUESTION}]})["messages"]
    assert said[-1].type == "ai", said
    called = OPENAI.bind_tools([tool(add), tool(largest)], tool_choice="largest").invoke(QUESTION)
    assert [call["name"] for call in called.tool_calls] == ["largest"], called


done()
