"""Models and their files: chat models, thinking formats, profiles, the bundled reasoner, a strict YAML reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.faces import lazy

if TYPE_CHECKING:
    from models.chat_model import ChatModel as ChatModel
    from models.chat_model import load_chat_model as load_chat_model
    from models.errors import LaserError as LaserError
    from models.profile.profile import Profile as Profile
    from models.profile.profile import read_profile as read_profile
    from models.reasoner import bundled_model as bundled_model
    from models.score import Score as Score
    from models.thinking import ThinkingFormat as ThinkingFormat

__getattr__, __all__ = lazy(
    __name__,
    {
        "ChatModel": "models.chat_model",
        "LaserError": "models.errors",
        "Profile": "models.profile.profile",
        "Score": "models.score",
        "ThinkingFormat": "models.thinking",
        "bundled_model": "models.reasoner",
        "load_chat_model": "models.chat_model",
        "read_profile": "models.profile.profile",
    },
)
