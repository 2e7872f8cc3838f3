"""Softmax over every prefix: attention with one query for all positions, as a scan.

Source: Feng et al., "Attention as an RNN", arXiv 2405.13956. The running sums (m, u, w) are the
recurrence of this package: the state [w, u] decays by e^(m_before - m) where the running maximum
m rises, and a token writes e^(s - m) [v, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.linear.chunkwise import chunkwise
from attnlang.backends.linear.form import State

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class PrefixState:
    """m ``[S, H]`` the largest score, u ``[S, H]`` the sum of e^(s - m), w ``[S, H, V]`` that of
    e^(s - m) v. Nothing yet is m = -inf, u = 0, w = 0.

    Only e^m u and e^m w mean something: m carries no gradient, and those of u and w are right for
    whatever depends on the state through outputs of later tokens.
    """

    m: Tensor
    u: Tensor
    w: Tensor


def prefix_softmax(
    s: Tensor, v: Tensor, initial: PrefixState | None = None
) -> tuple[Tensor, PrefixState]:
    """``out_i = sum_{j<=i} e^{s_j} v_j / sum_{j<=i} e^{s_j}`` and the state to go on from.

    s: scores ``[B, H, N]``, -inf for a token that takes no part. v ``[B, H or fewer, N, V]``.
    The output has v's dtype; while no token has taken part it is 0.
    """
    dtype = torch.float64 if torch.float64 in (s.dtype, v.dtype) else torch.float32
    scores = s.to(dtype)
    start = _empty(scores, v) if initial is None else initial
    with torch.no_grad():
        m = torch.maximum(scores.cummax(-1).values, start.m[..., None].to(dtype))
        before = torch.cat((start.m[..., None].to(dtype), m[..., :-1]), -1)
        # Before the first token there is nothing to decay: not e^(-inf + inf).
        decay = torch.where(before == -torch.inf, -torch.inf, before - m)
        finite = torch.where(m == -torch.inf, 0.0, m)
    k = (scores - finite).exp()[..., None]
    out, final = chunkwise(
        torch.ones_like(k), k, v, decay=decay, normalise="sum",
        initial=State(start.w[..., None, :], start.u[..., None]),
    )  # fmt: skip
    assert final.z is not None
    return out, PrefixState(
        m[..., -1] if m.shape[-1] else start.m, final.z[..., 0], final.s[..., 0, :]
    )


def _empty(s: Tensor, v: Tensor) -> PrefixState:
    none = s.new_zeros(s.shape[:2])
    return PrefixState(none - torch.inf, none, s.new_zeros(*s.shape[:2], v.shape[-1]))
