"""Each family's thinking format on a chat template of its shape, and on the published one where that is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.serving.reply import Channel, Delta, Reply
from models.chat_model import ChatModel, load_chat_model
from models.files.strict_yaml import read
from models.formats.recognition import PLAIN, ModelSigns, choose_format, doubt, recognise, signs_of
from models.thinking import ThinkingFormat, format_file, format_names
from tests.support.families import FAMILIES, Family, published, save_family
from tests.support.gguf_files import MODEL, save

USER = {"role": "user", "content": "What is 3 + 4?"}
CASES = [(name, None) for name in FAMILIES] + [
    (name, file) for name, family in FAMILIES.items() for file in family.published
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1] or 'own'}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Family, ChatModel]:
    name, file = request.param
    family = FAMILIES[name]
    template = family.template if file is None else published(file)
    folder = save_family(tmp_path_factory.mktemp("family"), family, template)
    return name, family, load_chat_model(folder)


def text(chat: ChatModel, tokens: tuple[int, ...]) -> str:
    return chat.tokenizer.decode(tokens)


def test_the_family_is_recognised(case: tuple[str, Family, ChatModel]) -> None:
    name, _, chat = case
    assert chat.thinking.format == read(format_file(name), ThinkingFormat)
    assert chat.format_source.startswith(f"{name}, told by its ")


def test_a_prompt_ends_inside_an_open_thought(case: tuple[str, Family, ChatModel]) -> None:
    _, _, chat = case
    form = chat.thinking.format
    for wanted in (None, True):
        prompt = chat.begin([USER], thinking=wanted)
        assert prompt.thinking, text(chat, prompt.tokens)
        assert text(chat, prompt.tokens).rstrip().endswith(form.open)


def test_a_prompt_without_a_thought_ends_behind_a_closed_one(case: tuple[str, Family, ChatModel]) -> None:
    _, _, chat = case
    prompt = chat.begin([USER], thinking=False)
    assert not prompt.thinking
    closed = chat.thinking.format.closers[0]
    assert prompt.closed == (closed in text(chat, prompt.tokens[-40:]))
    assert prompt.closed or chat.habits.switches


def test_thoughts_and_markers_in_messages_do_not_confuse_it(case: tuple[str, Family, ChatModel]) -> None:
    _, _, chat = case
    form = chat.thinking.format
    said = f"7.{form.open} no {form.closers[0]}"
    answered = {"role": "assistant", "content": "7", "reasoning_content": "3 + 4 = 7"}
    spelling = {"role": "user", "content": f"Say {said} {form.opening}"}
    for messages in ([USER, answered, USER], [USER, answered, spelling], [spelling]):
        prompt = chat.begin(messages)
        assert prompt.thinking, text(chat, prompt.tokens)
        assert not chat.begin(messages, thinking=False).thinking


def test_a_thought_that_a_message_has_begun_goes_on(case: tuple[str, Family, ChatModel]) -> None:
    _, _, chat = case
    form = chat.thinking.format
    begun = {"role": "assistant", "content": f"{form.opening}3 + 4 is"}
    prompt = chat.begin([USER, begun], continued=True)
    assert prompt.thinking
    assert text(chat, prompt.tokens).endswith("3 + 4 is")


def test_thought_and_answer_come_apart(case: tuple[str, Family, ChatModel]) -> None:
    """The reply as the model writes it, its texts before and behind the answer among it."""
    _, _, chat = case
    thinking, form = chat.thinking, chat.thinking.format
    deltas: list[Delta] = []
    reply = Reply(emit=deltas.append, decoder=chat.tokenizer.stream, thinking=True, stop=(), unshown=thinking.unshown)
    thought = tuple(chat.tokenizer.encode("3 + 4 = 7."))
    behind = form.unshown[-1] if form.unshown else ""
    written = (*thought, *thinking.after_words(), *chat.tokenizer.encode(f"It is 7{behind}"))
    marker = thinking.ending(written)
    reply.push(*written[: marker.start])
    reply.close_thought(marker.head, marker.tail)
    reply.push(*written[marker.end :])
    reply.finish()

    def said(channel: Channel) -> str:
        return "".join(delta.text for delta in deltas if delta.channel is channel)

    assert said(Channel.REASONING) == "3 + 4 = 7."
    assert said(Channel.CONTENT) == "It is 7"


def test_gpt_oss_is_told_how_hard_to_think(tmp_path: Path) -> None:
    family = FAMILIES["gpt-oss"]
    chat = load_chat_model(save_family(tmp_path, family, family.template))
    for effort, word in (("minimal", "low"), ("low", "low"), ("medium", "medium"), ("max", "high"), (None, "medium")):
        assert f"Reasoning: {word}<" in text(chat, chat.begin([USER], effort=effort).tokens)
    own = chat.begin([USER], effort="high", options={"reasoning_effort": "low"})
    assert "Reasoning: low<" in text(chat, own.tokens)  # a variable of the client's own wins


def test_every_format_that_ships_has_a_family_here() -> None:
    assert {*FAMILIES, "default", "open", PLAIN} == set(format_names())


def test_a_format_that_is_named_or_lies_beside_the_model_goes_before_its_family(tmp_path: Path) -> None:
    def signs() -> ModelSigns:
        return ModelSigns(template="[THINK] [/THINK]")

    assert choose_format(tmp_path, None, signs).name == "magistral"
    (tmp_path / "laser.yaml").write_text("answer_reserve: 7\n", "utf-8")
    beside = choose_format(tmp_path, None, signs)
    assert (beside.form.answer_reserve, beside.source) == (7, "the model's laser.yaml")
    named = choose_format(tmp_path, Path("qwen3"), signs)
    assert (named.form.answer_reserve, named.source) == (512, "named, qwen3")


def test_a_format_whose_markers_the_model_has_nowhere_is_doubted() -> None:
    form = choose_format(Path("none"), Path("qwen3"), ModelSigns).form
    assert doubt(form, ModelSigns(template="{{ messages }}", tokens=["<think>"])).startswith(
        "neither chat template nor"
    )
    assert doubt(form, ModelSigns(template="</think>")) == doubt(form, ModelSigns(tokens=["</think>"])) == ""
    for unmarked in ("plain", "open"):
        assert doubt(choose_format(Path("none"), Path(unmarked), ModelSigns).form, ModelSigns()) == ""


def test_a_model_in_the_hub_s_cache_has_its_repository_s_name(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--QwQ-32B" / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "qwen2"}', "utf-8")
    assert recognise(signs_of(snapshot, "<|im_start|>", ())).name == "qwq"


def test_the_metadata_of_a_gguf_file_tells_its_family(tmp_path: Path) -> None:
    named = {**MODEL, "general.architecture": "qwen2", "general.name": "OpenThinker 7B"}
    signs = signs_of(save(tmp_path / "q4.gguf", named), "<|im_start|>", ())
    assert (signs.types, recognise(signs).source) == (
        ("qwen2",),
        "openthinker, told by its type qwen2 and its name OpenThinker 7B",
    )


def test_the_default_is_the_default() -> None:
    assert read(format_file("default"), ThinkingFormat) == ThinkingFormat()


@pytest.mark.parametrize(
    ("signs", "name"),
    [
        (ModelSigns(types=("llama",), names=("SmolLM2-135M-Instruct",), template="<|im_start|>"), PLAIN),
        (ModelSigns(), PLAIN),
        (ModelSigns(types=("qwen3moe",), names=("Qwen3 Coder 30B A3B",), tokens=("<think>", "</think>")), PLAIN),
        (ModelSigns(types=("qwen3",), names=("Qwen3-4B-Instruct-2507",), template="a </think>"), PLAIN),
        (ModelSigns(types=("qwen3moe",), names=("x",), template="a </think>"), "qwen3"),
        (ModelSigns(types=("Qwen3ForCausalLM",), template="<｜Assistant｜> </think>"), "deepseek-r1-distill"),
        (ModelSigns(types=("qwen2",), names=("Open_Thinker 7B",)), "openthinker"),
        (ModelSigns(template="<think> </think>"), None),
        (ModelSigns(types=("qwen2",), tokens=("<think>", "</think>")), None),
        (ModelSigns(types=("qwen2",), tokens=("<think>",)), PLAIN),
    ],
)
def test_a_family_is_told_by_plain_texts(signs: ModelSigns, name: str | None) -> None:
    choice = recognise(signs)
    assert choice.name == name
    assert choice.form == (ThinkingFormat() if name is None else read(format_file(name), ThinkingFormat))


@pytest.mark.parametrize(
    "kind",
    [
        *("qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe"),  # as GGUF files say it
        *("qwen3_moe", "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
    ],
)
def test_every_network_of_a_family_s_models_is_known(kind: str) -> None:
    assert recognise(ModelSigns(types=(kind,), template="<|im_start|> <think> </think>")).name == "qwen3"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *((plain, PLAIN) for plain in ("meta-llama-Llama-3.2-3B-Instruct", "Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder")),
        *((plain, PLAIN) for plain in ("google-gemma-2-2b-it", "mistralai-Mistral-Nemo-Instruct-2407")),
        *((usual, None) for usual in ("deepseek-ai-DeepSeek-V3.1", "Kimi-K2-Thinking", "MiniMax-M2")),
    ],
)
def test_other_published_templates_are_served_plain_or_at_the_defaults(file: str, name: str | None) -> None:
    assert recognise(ModelSigns(template=published(file))).name == name
