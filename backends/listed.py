"""A set whose queries have few members each: their places in lists, in place of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """index: places among the set's keys ``[B, heads of the set, queries, most]``, int32, from the
    first on, then -1. q_lengths, k_lengths: of the axes. by_head: has the table a dimension of
    heads, or is the set one for all?"""

    index: torch.Tensor
    q_lengths: tuple[int, ...]
    k_lengths: tuple[int, ...]
    by_head: bool

    @property
    def device(self) -> torch.device:
        return self.index.device

    def table(self) -> torch.Tensor:
        """bool ``[B, (heads,) queries' axes..., keys' axes...]``."""
        keys = math.prod(self.k_lengths)
        found = self.index.new_zeros((*self.index.shape[:3], keys + 1), dtype=torch.bool)
        at = torch.where(self.index < 0, keys, self.index).long()
        found.scatter_(3, at, True)
        lead = found.shape[: 1 + self.by_head]
        return found[..., :keys].reshape(*lead, *self.q_lengths, *self.k_lengths)

    def counts(self) -> torch.Tensor:
        """How many members each query has: ``[B, (heads,) queries' axes...]``."""
        lead = self.index.shape[: 1 + self.by_head]
        return (self.index >= 0).sum(-1).view(*lead, *self.q_lengths)


def listed(members: torch.Tensor) -> torch.Tensor:
    """The true columns of every row: bool ``[..., columns]`` to int32 ``[..., most]``, then -1."""
    rows, columns = members.flatten(0, -2).nonzero().unbind(1)
    counts = members.sum(-1).flatten()
    most = int(counts.max()) if len(counts) else 0
    within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    found = torch.full((len(counts), most), -1, dtype=torch.int32, device=rows.device)
    found[rows, within] = columns.to(torch.int32)
    return found.view(*members.shape[:-1], most)


def listed_within(members: torch.Tensor, most: int) -> torch.Tensor:
    """The same where it is known how many a row has at most: ``[..., most]``, without waiting for
    a GPU to tell."""
    columns = torch.arange(members.shape[-1], dtype=torch.int32, device=members.device)
    found = members.new_full((*members.shape[:-1], most + 1), -1, dtype=torch.int32)
    at = torch.where(members, members.cumsum(-1) - 1, most)
    return found.scatter_(-1, at, columns.expand(members.shape))[..., :most].contiguous()


class Sets(Mapping[str, torch.Tensor]):
    """The sets of a call as tables, those that are listed made when they are read."""

    def __init__(self) -> None:
        self.made: dict[str, torch.Tensor | Listed] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        found = self.made[name]
        return found.table() if isinstance(found, Listed) else found

    def __contains__(self, name: object) -> bool:
        return name in self.made

    def __iter__(self) -> Iterator[str]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)
