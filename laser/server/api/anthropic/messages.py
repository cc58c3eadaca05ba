"""/v1/messages."""

from __future__ import annotations

from laser.server.api.anthropic.errors import MessagesError, anthropic_body
from laser.server.api.anthropic.reply import MessagesReply, MessagesShape
from laser.server.api.anthropic.request import MessagesRequest
from laser.server.api.shape import Framing, Surface, event

MESSAGES = Surface(
    path="/v1/messages",
    name="messages",
    description="Go on with a conversation, whole or as a stream of Anthropic's events.",
    request=MessagesRequest,
    reply=MessagesReply,
    shape=MessagesShape,
    prefix="msg_",
    framing=Framing(media_type="text/event-stream", ping=event({"type": "ping"}, name="ping")),
    error_body=anthropic_body,
    error_model=MessagesError,
)
