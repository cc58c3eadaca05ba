"""The chain of thought of a problem as text: steps, result, checks, or a search given up, and the reply behind it."""

from dataclasses import dataclass

from models.reasoner.families.draft import Paragraph, Piece

EXIT = "</think>\n\n**Final Answer**\n\\boxed{"
"""The text that closes a thought: the natural ending and a forced exit have the same tokens."""

DIRECT = "**Final Answer**\n\\boxed{"
"""The text after an empty thought, whose closing marker is part of the prompt."""

CLOSE = "</think>\n\n"
END = "<|im_end|>"

CAP = 512
"""The longest thought that the model is taught and measured with, in tokens; a search may not end within it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenThought:
    """A thought in paragraphs, each ending in a blank line, and the answer that closes it."""

    paragraphs: tuple[Paragraph, ...]
    answer: str

    @property
    def texts(self) -> list[str]:
        """The paragraphs as plain text."""
        return ["".join(text for text, _ in pieces) for pieces in self.paragraphs]

    @property
    def thought(self) -> str:
        """Everything between `<think>\\n` and `</think>`."""
        return "".join(self.texts)

    @property
    def pieces(self) -> list[Piece]:
        """The thought in pieces that no token straddles."""
        return [piece for paragraph in self.paragraphs for piece in paragraph]

    @property
    def completion(self) -> str:
        """Everything that the model writes after the prompt, `<|im_end|>` included."""
        return f"{self.thought}{closing(self.answer)}"


def closing(answer: str) -> str:
    """The exit with an answer in it: the target of the natural end and of every forced exit."""
    return f"{EXIT}{answer}}}{END}"
