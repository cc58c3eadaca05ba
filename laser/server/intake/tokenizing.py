"""Texts to tokens and tokens to texts, for clients that ask for nothing else. Both run on a thread."""

from __future__ import annotations

from laser.server.api.anthropic.blocks import conversation
from laser.server.api.anthropic.request import CountTokensRequest, TokenCount
from laser.server.api.errors import BadRequest, clipped, shown
from laser.server.api.reports import DetokenizeRequest, Text, TokenizeRequest, Tokens
from laser.server.intake.bounds import TextBounds
from laser.server.intake.encoding import check_prompt
from models.chat_model import ChatModel
from models.tokenizer import TokenizerError

TOLD = 524_288  # tokens at most that are told, or turned into text, however long the context is
TOLD_BOUNDS = TextBounds(tokens=TOLD, token_bytes=4, certain=False)
MOST_TEXT = 1 << 24  # characters of the text that tokens are turned into


def tokenize(chat: ChatModel, request: TokenizeRequest, room: int) -> Tokens:
    """Returns the tokens of a text or of a rendered chat. Raises BadRequest unless exactly one is given.

    `room`: the most tokens that prompt and reply may have together.
    """
    given = [each for each in (request.prompt, request.content, request.messages) if each is not None]
    if len(given) != 1:
        raise BadRequest(f"{len(given)} of prompt, content and messages are given, must be 1", param="prompt")
    check_prompt(request, chat.tokenizer.encode, TOLD)
    try:
        if request.prompt is not None:
            tokens = list(chat.tokenizer.encode_prompt(request.prompt))
        elif request.content is not None:
            tokens = chat.tokenizer.encode(request.content)
        else:
            messages = [message.for_template for message in request.messages or ()]
            tokens = list(chat.begin(messages, thinking=None).tokens)
    except TokenizerError as error:
        raise BadRequest(clipped(str(error), 200), param="messages") from error
    return Tokens(count=len(tokens), max_model_len=room, tokens=tokens)


def count_tokens(chat: ChatModel, request: CountTokensRequest) -> TokenCount:
    """Returns how long a conversation is. Raises BadRequest if it cannot be rendered."""
    check_prompt(request, chat.tokenizer.encode, TOLD)
    continued, offer = request.messages[-1].role == "assistant", request.offer
    try:
        begun = chat.begin(
            conversation(request.system, request.messages),
            thinking=None,
            continued=continued,
            tools=() if offer is None else offer.tools,
        )
    except TokenizerError as error:
        raise BadRequest(clipped(str(error), 200), param="messages") from error
    return TokenCount(input_tokens=len(begun.tokens))


def detokenize(chat: ChatModel, request: DetokenizeRequest) -> Text:
    """Returns the text of tokens. Raises BadRequest if the model does not know a token, or the text is too long."""
    if len(request.tokens) > TOLD:
        raise BadRequest(f"tokens has {len(request.tokens)} entries, must be at most {TOLD}", param="tokens")
    highest, texts = max(request.tokens, default=0), chat.tokenizer.texts
    known = len(texts)
    if highest >= known:
        raise BadRequest(f"tokens has {shown(highest)}, must lie in 0…{known - 1}", param="tokens")
    size = sum(len(texts[token]) for token in request.tokens)
    if size > MOST_TEXT:
        raise BadRequest(f"tokens has {size} characters of text, must be at most {MOST_TEXT}", param="tokens")
    text = chat.tokenizer.decode(request.tokens)
    return Text(prompt=text, content=text)
