"""Texts to tokens and tokens to texts, for clients that ask for nothing else. Both run on a thread."""

from __future__ import annotations

from laser.server.api.errors import BadRequest, clipped, shown
from laser.server.api.reports import DetokenizeRequest, Text, TokenizeRequest, Tokens
from laser.server.intake.bounds import TextBounds, prompt_texts
from laser.server.intake.encoding import check_length
from models.chat_model import ChatModel
from models.tokenizer import TokenizerError

TOLD = 524_288  # tokens at most, however long the context is
TOLD_BOUNDS = TextBounds(tokens=TOLD, token_bytes=4, certain=False)


def tokenize(chat: ChatModel, request: TokenizeRequest, room: int) -> Tokens:
    """Returns the tokens of a text or of a rendered chat. Raises BadRequest unless exactly one is given.

    `room`: the most tokens that prompt and reply may have together.
    """
    text = request.prompt if request.prompt is not None else request.content
    given = [each for each in (request.prompt, request.content, request.messages) if each is not None]
    if len(given) != 1:
        raise BadRequest(f"{len(given)} of prompt, content and messages are given, must be 1", param="prompt")
    check_length(prompt_texts(request), chat.tokenizer.encode, TOLD)
    try:
        tokens = (
            chat.tokenizer.encode(text)
            if text is not None
            else list(chat.prompt([message.for_template for message in request.messages or ()]))
        )
    except TokenizerError as error:
        raise BadRequest(clipped(str(error), 200), param="messages") from error
    return Tokens(count=len(tokens), max_model_len=room, tokens=tokens)


def detokenize(chat: ChatModel, request: DetokenizeRequest) -> Text:
    """Returns the text of tokens. Raises BadRequest if the model does not know a token."""
    highest, known = max(request.tokens, default=0), len(chat.tokenizer.texts)
    if highest >= known:
        raise BadRequest(f"tokens has {shown(highest)}, must lie in 0…{known - 1}", param="tokens")
    text = chat.tokenizer.decode(request.tokens)
    return Text(prompt=text, content=text)
