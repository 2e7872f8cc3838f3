"""Softmax over every prefix: attention with one query for all positions, as a scan.

Source: Feng et al., "Attention as an RNN", arXiv 2405.13956. The running sums (m, u, w) are the
recurrence of this package: the state [w, u] decays by e^(m_before - m) where the running maximum
m rises, and a token writes e^(s - m) [v, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnlang.backends.linear.around import Form, around
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


def prefixed(
    form: Form, s: Tensor, v: Tensor, initial: PrefixState | None, segments: Tensor | None
) -> tuple[Tensor, PrefixState]:
    """`prefix_softmax` by one form of the recurrence."""
    dtype = torch.float64 if torch.float64 in (s.dtype, v.dtype) else torch.float32
    scores = s.to(dtype)
    start = _nothing_yet(scores, v) if initial is None else initial
    with torch.no_grad():
        tops = _running_max(torch.cat((start.m[..., None].to(dtype), scores), -1), segments)
        before, m = tops[..., :-1], tops[..., 1:]
        # Before the first token there is nothing to decay: not e^(-inf + inf).
        decay = torch.where(before == -torch.inf, -torch.inf, torch.clamp(before - m, max=0.0))
        finite = torch.where(m == -torch.inf, 0.0, m)
    k = (scores - finite).exp()[..., None]
    first = State(start.w[..., None, :], start.u[..., None])
    out, final = around(
        form, torch.ones_like(k), k, v, decay=decay, normalise="sum", segments=segments,
        initial=first,
    )  # fmt: skip
    assert final.z is not None
    return out, PrefixState(tops[..., -1], final.z[..., 0], final.s[..., 0, :])


def _nothing_yet(s: Tensor, v: Tensor) -> PrefixState:
    none = s.new_zeros(s.shape[:2])
    return PrefixState(none - torch.inf, none, s.new_zeros(*s.shape[:2], v.shape[-1]))


def _running_max(s: Tensor, segments: Tensor | None) -> Tensor:
    """Of ``[B, H, 1 + N]`` within each segment; what comes first belongs to the first segment.

    With segments by doubling: each round looks twice as far back, as far as nothing starts.
    """
    if segments is None:
        return s.cummax(-1).values
    segments = torch.cat((segments[:, :1], segments), 1)[:, None]
    reach = 1
    while reach < s.shape[-1]:
        same = segments[..., reach:] == segments[..., :-reach]
        further = torch.where(same, s[..., :-reach], -torch.inf)
        s = torch.cat((s[..., :reach], torch.maximum(s[..., reach:], further)), -1)
        reach *= 2
    return s
