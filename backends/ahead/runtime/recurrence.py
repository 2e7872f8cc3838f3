"""One linear attention of a program, from the numbers that its clauses say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch

from attnlang.backends.linear.around import around
from attnlang.backends.linear.form import State, Weights
from attnlang.backends.linear.prefix import PrefixState, prefixed
from attnlang.backends.linear.triton.attend import run
from attnlang.backends.linear.triton.launch import FIRST, WHOLE, Choice

Tensor = torch.Tensor


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool, choices: Mapping[str, Any],
    decay: Tensor | None = None, delta: Tensor | None = None, weights: Weights | None = None,
    normalise: Literal["none", "sum"] = "none", documents: Tensor | None = None,
    state: State | None = None,
) -> tuple[Tensor, State | None]:  # fmt: skip
    """Output ``[B, H, N, V]`` and, where there is an order, the state after the last token.

    q ``[B, H, N, K]``, k ``[B, H or fewer, N, K]``, v ``[B, H or fewer, N, V]``; of more keys than
    queries the last. decay, delta: ``[B or 1, H or 1, N or 1, K or 1]``. weights: coefficients of
    the score's polynomial. documents ``[B or 1, 1, N]``: sorted ids. choices: of kernels by name.
    """
    batch, heads, n, _ = q.shape
    if n != k.shape[2] and state is None:
        raise ValueError(f"linear attention has a query for each key, not {n} for {k.shape[2]}")
    if state is not None and not causal:
        raise ValueError("linear attention of all pairs has no order to go on in: no state")
    if delta is not None and k.shape[3] > WHOLE:
        raise ValueError(f"the delta rule has no kernels for more than {WHOLE} channels")
    k, v = k[:, :, k.shape[2] - n :], v[:, :, v.shape[2] - n :]
    segments = _segments(documents, batch, n)
    if decay is not None and decay.shape[0] == decay.shape[2] == decay.shape[3] == 1:
        decay = decay[0, :, 0, 0].expand(heads)
    elif decay is not None:
        decay = _last(decay, 2, n).expand(batch, heads, n, -1)
        decay = decay[..., 0] if decay.shape[3] == 1 else decay
    beta = None if delta is None else _last(delta, 2, n)[..., 0].expand(batch, -1, n)
    form = partial(run, choices=_chosen(choices))
    if state is not None:
        state = State(state.s, state.z)
    out, left = around(
        form, q, k, v, decay=decay, beta=beta, scale=scale, segments=segments, initial=state,
        normalise=normalise, causal=causal, weights=weights,
    )  # fmt: skip
    return out, left if causal else None


def attend_prefix(
    q: Tensor, v: Tensor, logit: Tensor, *, choices: Mapping[str, Any],
    documents: Tensor | None = None, state: State | None = None,
) -> tuple[Tensor, State]:  # fmt: skip
    """`attend` with weights that are a softmax over the past of one number ``[B or 1, H or 1, N or
    1, 1]`` for each key, whatever q."""
    batch, _, n, _ = q.shape
    s = _last(logit, 2, n)[..., 0].expand(q.shape[:3]).float()
    first = None
    if state is not None:
        assert state.z is not None
        assert state.top is not None
        first = PrefixState(state.top, state.z[..., 0], state.s[..., 0, :])
    form = partial(run, choices=_chosen(choices))
    out, left = prefixed(form, s, v[:, :, v.shape[2] - n :], first, _segments(documents, batch, n))
    return out, State(left.w[..., None, :], left.u[..., None], left.m)


def _chosen(choices: Mapping[str, Any]) -> Mapping[str, Choice]:
    return FIRST | {name: Choice(**x) for name, x in choices.items()}


def _segments(documents: Tensor | None, batch: int, n: int) -> Tensor | None:
    if documents is None:
        return None
    found = _last(documents[:, 0], 1, n).expand(batch, -1)
    if not (found[:, 1:] >= found[:, :-1]).all():
        raise ValueError("ids of documents are sorted")
    return found


def _last(x: Tensor, dim: int, n: int) -> Tensor:
    return x if x.shape[dim] == 1 else x.narrow(dim, x.shape[dim] - n, n)
