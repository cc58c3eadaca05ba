"""Policies that decide when to probe and when to close a thought, and the serving loop that applies them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.faces import lazy

if TYPE_CHECKING:
    from controller.controller import Controller as Controller
    from controller.policy import FixedPolicy as FixedPolicy
    from controller.policy import Limits as Limits
    from controller.policy import LoadObserver as LoadObserver
    from controller.policy import Policy as Policy
    from controller.serving.loop import ServingLoop as ServingLoop
    from controller.serving.request import Outcome as Outcome
    from controller.serving.request import ReasoningRequest as ReasoningRequest

__getattr__, __all__ = lazy(
    __name__,
    {
        "Controller": "controller.controller",
        "FixedPolicy": "controller.policy",
        "Limits": "controller.policy",
        "LoadObserver": "controller.policy",
        "Outcome": "controller.serving.request",
        "Policy": "controller.policy",
        "ReasoningRequest": "controller.serving.request",
        "ServingLoop": "controller.serving.loop",
    },
)
