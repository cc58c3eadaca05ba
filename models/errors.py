"""The root of the errors that a user can cause or mend; each package derives its own."""

from __future__ import annotations


class LaserError(Exception):
    """Something that a user gave or has cannot be used; the message says what, in words for that user."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is wrong: a line for each fault."""
        return (" ".join(str(self).split()),)


class Faults(LaserError, ValueError):
    """All that is wrong with what a user gave; each argument is the message of one fault."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(" ".join(str(fault).split()) for fault in self.args)


def faults_of(error: Exception) -> tuple[str, ...]:
    """Returns the message of each fault that an error tells."""
    return tuple(map(str, error.args)) if isinstance(error, Faults) else (str(error),)
