"""What holds a sequence's tokens to a form: a mask of what may come next, for each sampled token anew."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Constraint(Protocol):
    """Says which tokens may come next, and is told which one has. Raises LaserError for what it cannot follow.

    An engine asks for a mask before it samples a token and has the sampled token accepted behind it. Forced and
    adopted tokens are not: whoever forces or adopts gives the sequence a constraint that has taken them.
    """

    @property
    def complete(self) -> bool:
        """Whether the text is whole and nothing but its end can follow."""

    def mask(self) -> npt.NDArray[np.uint32]:
        """The tokens that may come next, packed: bit t % 32 of word t // 32 is 1 if token t may; no bit: it may not.

        Stop tokens are in it where the text may end.
        """

    def accept(self, token: int) -> None:
        """Go on behind `token`, which the last mask allowed."""

    def copy(self) -> Constraint:
        """Returns a constraint at the same place, which goes on by itself."""
