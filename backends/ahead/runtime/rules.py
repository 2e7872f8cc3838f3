"""Sets of a program, as tables made of the scores of their candidates."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from attnlang.backends.precision import accumulation_dtype
from attnlang.backends.program.rules import Choices, minmaxed, pick


def chosen(
    scores: torch.Tensor,
    allowed: torch.Tensor,
    forced: torch.Tensor | None,
    kind: str,
    amount: float | torch.Tensor,
    lengths: Sequence[int],
    *,
    by_head: bool,
    per: Sequence[int],
    minmax: bool = False,
    search: str = "all",
    ties: bool = False,
    largest: bool = False,
) -> torch.Tensor:
    """The set, bool ``[B, (Hs,) *lengths]``, of scores ``[B, Hs, Nq, R]``.

    forced: members whatever their score, counted first. kind: "top", "above" or "mass". amount: how
    many, how much; or the set that says how many, by its ``largest`` choice or each by its own.
    lengths: of the queries' and keys' axes. per: the dimensions that each choice is made for.
    minmax: are scores moved to 0 to 1 first? search: "all", or by
    halving runs ("halving", "centres"). ties: does what equals the last chosen come along?
    """
    shape = (*scores.shape[: 1 + by_head], *lengths)
    if 0 in shape:
        return allowed.new_zeros(shape)
    choices = Choices(shape, tuple(per))
    rows, candidates = (choices.rows(x.expand(scores.shape)) for x in (scores, allowed))
    always = None if forced is None else choices.rows(forced.expand(scores.shape))
    if minmax:
        rows = minmaxed(rows, candidates if always is None else candidates | always)
    if isinstance(amount, torch.Tensor):
        amount = Choices(tuple(amount.shape), tuple(per)).counts(amount, largest=largest)
    return choices.table(pick(rows, candidates, always, kind, amount, search=search, ties=ties))


def head_products(q: torch.Tensor, k: torch.Tensor, heads: torch.Tensor) -> torch.Tensor:
    """``[B, heads, Nq, U]``: queries of some heads times all keys."""
    dtype = accumulation_dtype(q.dtype)
    own = heads // (q.shape[1] // k.shape[1])
    return q[:, heads].to(dtype) @ k[:, own].to(dtype).mT
