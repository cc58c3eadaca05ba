"""The forms in which a question comes: alone, as the second turn of a chat, for an answer in JSON, beside a tool."""

import json

import numpy as np

from models.reasoner.families.draft import Paragraph, pick, plain
from models.reasoner.packing import Lesson
from models.reasoner.tasks import FAMILIES, Problem, generate
from models.reasoner.tokenizer import Encoder, Message
from models.reasoner.traces import CLOSE, DIRECT, END, EXIT, closing

SHARES = {"alone": 0.71, "direct": 0.08, "second": 0.06, "json": 0.06, "tool": 0.09}
_NAMED = 4.0  # weight of a tool's name in a thought: it is looked up there, and copied from there

SYSTEMS = ("You are a helpful assistant.", "Be brief.", "You are a careful assistant.", "Think step by step.")
IN_JSON = (
    'Answer with JSON {"answer": ...}',
    'Answer with JSON {"answer": …}.',
    'Reply with JSON of the form {"answer": ...}.',
    'Answer in JSON with the key "answer".',
    'Give the answer as a JSON object: {"answer": ...}.',
    "Answer with JSON.",
)
TOOLS = ("calculator",) * 4 + ("calculate", "compute", "evaluate", "math", "sum_up", "work_out")
ABOUT = (
    "Evaluates an expression.",
    "Works out an expression.",
    "A calculator.",
    "Returns the value of an expression.",
)
ASKED_SUMS = (
    "What is {sum}?",
    "Use the tool to work out {sum}.",
    "Calculate {sum} with the tool.",
    "How much is {sum}?",
    "Compute {sum}.",
    "Use the calculator: what is {sum}?",
)


def alone(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """The question as the only message, now and then behind a system line that changes nothing."""
    system = _system(pick(rng, SYSTEMS)) if rng.random() < 0.1 else []
    return _boxed(encoder, [*system, _user(problem.question)], problem, rng)


def direct(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """The question behind an empty thought: the answer at once."""
    prompt = tuple(encoder.chat([_user(problem.question)], thinking=False))
    return Lesson(prompt=prompt, thought=(), reply=f"{DIRECT}{problem.answer}}}{END}", given=None)


def second(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """The question as the second of a chat whose first has been answered."""
    first = generate(pick(rng, FAMILIES[:2]), rng, split="easy")
    answered = f"{DIRECT}{first.answer}}}"
    said = pick(rng, (answered, answered, first.answer, f"The answer is {first.answer}."))
    history = [_user(first.question), Message(role="assistant", content=said)]
    return _boxed(encoder, [*history, _user(problem.question)], problem, rng)


def in_json(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """The question with the demand for JSON, in a system line or behind it."""
    demand = pick(rng, IN_JSON)
    if rng.random() < 0.7:
        messages = [*_system(demand), _user(problem.question)]
    else:
        messages = [_user(f"{problem.question} {demand}")]
    value: object = int(problem.answer) if problem.answer.isdecimal() else problem.answer
    reply = f"{CLOSE}{json.dumps({'answer': value})}{END}"
    return Lesson(
        prompt=tuple(encoder.chat(messages)),
        thought=tuple(problem.thought(rng).pieces),
        reply=reply,
        given=CLOSE,
    )


def beside_tool(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """A sum with a calculator, before its call or behind its answer; or a question that needs no tool, beside it."""
    name, tools = _tool(rng)
    if rng.random() < 0.25:
        return _boxed(encoder, [_user(problem.question)], problem, rng, tools)
    left, right = (int(number) for number in rng.integers(2, 1000, size=2))
    sign = pick(rng, "+-*")
    sum_ = f"{left} {sign} {right}"
    value = str({"+": left + right, "-": left - right, "*": left * right}[sign])
    messages = [_user(pick(rng, ASKED_SUMS).format(sum=sum_))]
    call = {"name": name, "arguments": {"expression": sum_}}
    if rng.random() < 0.6:
        thought: Paragraph = (("Okay. The tool", 1.0), (f" {name}", _NAMED), (f" can work out {sum_}.\n\n", 1.0))
        reply = f"{CLOSE}<tool_call>\n{json.dumps(call)}\n</tool_call>{END}"
        return Lesson(prompt=tuple(encoder.chat(messages, tools=tools)), thought=thought, reply=reply, given=None)
    said = [Message(role="assistant", content="", tool_calls=[{"type": "function", "function": call}])]
    messages += [*said, Message(role="tool", content=value)]
    thought = plain(f"Okay. The tool says that {sum_} is {value}. So the result is {value}.")
    prompt = tuple(encoder.chat(messages, tools=tools))
    return Lesson(prompt=prompt, thought=thought, reply=closing(value), given=EXIT)


_FORMS = {"alone": alone, "direct": direct, "second": second, "json": in_json, "tool": beside_tool}


def asked(encoder: Encoder, problem: Problem, rng: np.random.Generator) -> Lesson:
    """The problem in a form that is drawn from SHARES."""
    form = list(SHARES)[int(rng.choice(len(SHARES), p=list(SHARES.values())))]
    return _FORMS[form](encoder, problem, rng)


def _boxed(
    encoder: Encoder,
    messages: list[Message],
    problem: Problem,
    rng: np.random.Generator,
    tools: list[dict[str, object]] | None = None,
) -> Lesson:
    return Lesson(
        prompt=tuple(encoder.chat(messages, tools=tools)),
        thought=tuple(problem.thought(rng).pieces),
        reply=closing(problem.answer),
        given=EXIT,
    )


def _user(content: str) -> Message:
    return Message(role="user", content=content)


def _system(content: str) -> list[Message]:
    return [Message(role="system", content=content)]


def _tool(rng: np.random.Generator) -> tuple[str, list[dict[str, object]]]:
    """A calculator's name and declaration, as clients send it."""
    name = pick(rng, TOOLS)
    about = {"type": "string", **({"description": "The expression."} if rng.random() < 0.3 else {})}
    parameters: dict[str, object] = {"type": "object", "properties": {"expression": about}}
    if rng.random() < 0.8:
        parameters["required"] = ["expression"]
    function = {"name": name, "description": pick(rng, ABOUT), "parameters": parameters}
    return name, [{"type": "function", "function": function}]
