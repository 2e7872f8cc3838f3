"""What every form of the recurrence works on: tensors checked and brought to one set of heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from attnlang.backends.precision import accumulation_dtype

Tensor = torch.Tensor
Weights = tuple[float, float, float]
"""Coefficients of the weight ``c0 + c1 x + c2 x**2`` of a scaled score x."""


@dataclass(frozen=True, slots=True)
class State:
    """What the tokens so far leave behind, undecayed since the last of them.

    s: ``[B, H, K', V]``, in float32 (float64 for float64 tensors). K' is K, or the number of
    features of a polynomial weight. z: ``[B, H, K']`` the same sum of the keys alone, present
    with ``normalise="sum"``. top: ``[S, H]`` of a softmax over the past the largest score, below
    which the weights in s and z are. With segments all belong to the last segment of each row.
    """

    s: Tensor
    z: Tensor | None = None
    top: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """q, k ``[B, H, N, K]``, v ``[B, H, N, V]`` in their own precisions.

    decay: ``[B or 1, H, N, 1 or K]`` log-decays as accumulated, -inf where a segment starts.
    constant: is the decay the same for all tokens? beta: ``[B, H, N, 1]`` as accumulated.
    Each H may be a divisor of ``heads``. N may be cut in two, ``n, C``: chunks and their tokens.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor
    beta: Tensor | None
    constant: bool

    @property
    def dtype(self) -> torch.dtype:
        """The precision of states and sums."""
        return self.decay.dtype

    @property
    def heads(self) -> int:
        given = (self.q, self.k, self.v, self.decay, self.beta)
        return max(x.shape[1] for x in given if x is not None)

    def map(self, f: Callable[[Tensor], Tensor]) -> Tokens:
        """f of every tensor."""
        beta = None if self.beta is None else f(self.beta)
        return Tokens(f(self.q), f(self.k), f(self.v), f(self.decay), beta, self.constant)

    def widened(self) -> Tokens:
        """In the precision of the sums, and with as many heads everywhere; decays may have one."""
        heads = self.heads

        def wide(x: Tensor) -> Tensor:
            alone = x is self.decay and x.shape[1] == 1
            return x.to(self.dtype) if alone else repeated(x.to(self.dtype), heads)

        return self.map(wide)


def tokens(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor | None,
    beta: Tensor | None,
    segments: Tensor | None,
) -> Tokens:
    """The tensors of a call in one form. Raises ValueError for shapes that do not go together.

    Heads: the largest count among all tensors is that of the output and the states; a tensor with
    fewer is shared by consecutive heads.
    """
    batch, _, length, width = q.shape
    if k.shape[0] != batch or k.shape[2:] != q.shape[2:]:
        raise ValueError(f"k is {list(k.shape)}, which does not fit q {list(q.shape)}")
    if v.dim() != 4 or v.shape[0] != batch or v.shape[2] != length:
        raise ValueError(f"v is {list(v.shape)}, which does not fit q {list(q.shape)}")
    dtype = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    dtype = accumulation_dtype(dtype)
    constant = decay is None or decay.dim() == 1
    if decay is None:
        decay = torch.zeros(1, dtype=dtype, device=q.device)
    elif not constant:
        _fits("decay", decay, (batch, length), (batch, length, width))
    a = decay.to(dtype)
    a = a[None, :, None, None].expand(1, -1, length, 1) if constant else a
    a = a[..., None] if a.dim() == 3 else a
    if beta is not None:
        _fits("beta", beta, (batch, length))
        beta = beta.to(dtype)[..., None]
    if segments is not None:
        if segments.shape != (batch, length):
            raise ValueError(f"segments are {list(segments.shape)}, not {[batch, length]}")
        starts = torch.zeros_like(segments, dtype=torch.bool)
        starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
        a = torch.where(starts[:, None, :, None], -torch.inf, a)
        constant = False
    found = Tokens(q, k, v, a, beta, constant)
    for x in (q, k, v, a, beta):
        if x is not None and found.heads % x.shape[1]:
            raise ValueError(f"{found.heads} heads cannot share {x.shape[1]}")
    return found


def initial_state(initial: State | None, given: Tokens, shape: tuple[int, ...]) -> Tensor:
    """The state before the first token ``shape``: zeros when none is given."""
    if initial is None:
        return torch.zeros(shape, dtype=given.dtype, device=given.q.device)
    if tuple(initial.s.shape) != shape:
        raise ValueError(f"the initial state is {list(initial.s.shape)}, not {list(shape)}")
    return initial.s.to(given.dtype)


def _fits(name: str, x: Tensor, *shapes: tuple[int, ...]) -> None:
    """x is ``[B, H, ...]``; shapes leave the heads out."""
    if x.dim() < 2 or (x.shape[0], *x.shape[2:]) not in shapes:
        wanted = " or ".join(str(["B", "H", *s[1:]]).replace("'", "") for s in shapes)
        raise ValueError(f"{name} is {list(x.shape)}, not {wanted} with B = {shapes[0][0]}")


def repeated(x: Tensor, heads: int) -> Tensor:
    """Each head as often, one after the other, as it takes to be ``heads``."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)
