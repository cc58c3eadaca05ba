"""Muon: momentum whose matrix updates are orthogonalised, which trains small transformers in few steps."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Steps of Newton-Schulz-orthogonalised Nesterov momentum for weight matrices (Jordan et al., 2024)."""

    def __init__(self, matrices: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for alike in shapes.values():  # matrices of one shape go through the iteration together
                self._step_alike(alike, group)

    def _step_alike(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        directions = []
        for matrix in matrices:
            average = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            gradient = matrix.grad
            assert gradient is not None  # grouped by having one
            average.lerp_(gradient, 1 - momentum)
            directions.append(torch.lerp(gradient, average, momentum))
        rows, columns = matrices[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for matrix, update in zip(matrices, orthogonalise(torch.stack(directions)), strict=True):
            matrix.add_(update, alpha=-group["lr"] * scale)


def orthogonalise(stack: Tensor, *, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to a stack [n, rows, columns], singular values within about .7 to 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315  # the quintic of Jordan et al.: steep at zero, flat around one
    tall = stack.shape[1] > stack.shape[2]
    x = stack.transpose(1, 2) if tall else stack
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = x.transpose(1, 2) if tall else x
    return out
