"""The chunkwise form: linear time and memory, trainable, exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from attnlang.backends.linear import parts, window
from attnlang.backends.linear.additive import Additive
from attnlang.backends.linear.around import Form, around
from attnlang.backends.linear.delta import Delta
from attnlang.backends.linear.form import State, Tokens, Weights

Tensor = torch.Tensor


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float = 1.0,
    segments: Tensor | None = None,
    initial: State | None = None,
    chunk: int = 64,
    normalise: Literal["none", "sum"] = "none",
    eps: float = 0.0,
    causal: bool = True,
    weights: Weights | None = None,
    engine: Literal["torch", "triton"] = "torch",
    decays: Sequence[float] | None = None,
) -> tuple[Tensor, State]:
    """Linear attention with decay, ``S = e^decay S + k v^T`` and ``out = scale q^T S`` per token.

    A token reads after it writes, and its own write is not decayed. Any of the tensors may have
    fewer heads than the most that any has, which it must divide; H is that most.

    q, k: ``[B, H, N, K]``. v: ``[B, H, N, V]``.
    decay: logarithm, at most 0 (-inf forgets everything): ``[H]`` constant, ``[B, H, N]`` per
        token, ``[B, H, N, K]`` per channel of the state; None is no decay.
    beta: ``[B, H, N]`` turns the write into the gated delta rule (Yang et al., arXiv 2412.06464):
        the state decays, then beta times what k reads of it is taken away, then beta k v^T added.
        Stable for keys of length 1 and beta in [0, 2].
    segments: int ``[B, N]``, equal within a document: the state starts empty where it changes.
        The first document starts from ``initial``; the final state is that of the last.
    chunk: tokens weighed pair by pair at once; changes only speed and rounding. Decays per
        channel round it up to a power of two.
    normalise: "sum" divides by the sum of the weights plus ``eps``; a sum of 0 gives 0.
    causal: False weighs both sides, by ``e^(decay |i - j|)`` with a constant decay.
    weights: (c0, c1, c2) weighs a pair by ``c0 + c1 x + c2 x^2`` of its score x = scale q.k
        instead of by x, with no decay or one per head or token.
    engine: "triton" runs kernels, with chunks of their own.
    decays: the constant decays as numbers, where the caller has them: heads that forget fast are
        then found without waiting for the device. Without them only on the CPU.

    Returns the output ``[B, H, N, V]`` in v's dtype and the state after the last token.
    Sums and states are in float32, or float64 if q, k or v is. Raises ValueError for shapes that
    do not fit and for combinations that are not defined, Unsupported for what has no kernels.
    """
    return around(
        form_of(engine, chunk, decays), q, k, v, decay=decay, beta=beta, scale=scale,
        segments=segments, initial=initial, normalise=normalise, eps=eps, causal=causal,
        weights=weights,
    )  # fmt: skip


def form_of(
    engine: Literal["torch", "triton"], chunk: int, decays: Sequence[float] | None = None
) -> Form:
    """What runs one causal pass."""

    def form(
        x: Tokens, first: Tensor, scale: float, weights: Weights | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        if engine == "triton":
            from attnlang.backends.linear.triton.attend import run as launched
            from attnlang.backends.linear.triton.launch import Unfit
            from attnlang.backends.linear.triton.support import check_kernels
            from attnlang.backends.triton.target import unfit

            check_kernels(x)
            try:
                return launched(x, first, scale, weights, dtype)
            except Unfit as no:
                raise unfit(no.kernel, str(x.q.device), no.need) from None
        if x.beta is not None:
            return parts.run(x, first, chunk, Delta(scale))
        return window.run(x, first, chunk, Additive(scale, weights), first.shape[2], decays)

    return form
