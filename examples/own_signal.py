"""An exit signal of one's own; laser serve --policy signal --set signal=own_signal:Short --set level=1"""

from controller import Limits
from controller.serving.signals.base import Asks
from engine import engine_options, open_engine
from experiments.evaluation.evaluation import evaluate, evaluation_loop
from experiments.evaluation.questions import bundled_questions
from models import bundled_model, load_chat_model


class Short:
    """Met by the first trial answer of at most `level` tokens."""

    reason, asks, read, give_up_below = "short", Asks.TRIAL_ANSWER, frozenset(), 0.0

    def __init__(self, level):
        self.level = level

    def closes(self, probes):
        return 0 < len(probes[-1].answer) <= self.level


if __name__ == "__main__":
    chat, opened = load_chat_model(bundled_model()), open_engine(bundled_model(), engine_options("torch", {}))
    loop = evaluation_loop(opened.engine, chat, Limits(exits={"own_signal:Short": 1.0}))
    questions = bundled_questions(2, seed=1)
    for one in evaluate(loop, chat, questions, max_tokens=640):
        print(f"{one.exit_reason}: {one.thought_tokens} thought tokens, {'right' if one.right else 'wrong'}")
