"""The plan: the one interface between the compiler and every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.layout.layout import Layout
from attnlang.compiler.plan.boxes import BoxTable
from attnlang.compiler.plan.table import RunTable
from attnlang.compiler.problem.heads import heads_text
from attnlang.compiler.problem.problem import Problem

LONGEST = 60
"""Letters of a condition that stands before something else."""


@dataclass(frozen=True)
class HeadPlan:
    """Heads that attend the same pairs, and what they visit.

    where: the predicate with the head put in. layout: how their tokens are cut. boxes: one box of
    keys for each query tile, where the pattern is that simple (then executors follow it); None: the
    table is the plan.
    """

    heads: tuple[int, ...]
    where: Expr
    layout: Layout
    boxes: BoxTable | None
    classify: Callable[[], RunTable] = field(repr=False)
    classify_columns: Callable[[], RunTable] = field(repr=False)

    @cached_property
    def table(self) -> RunTable:
        """Visited tiles of the layout's own key tiling: rows are query tiles, columns key tiles."""
        return self.classify()

    @cached_property
    def columns(self) -> RunTable:
        """The transposed plan: rows are key tiles, columns the query tiles that visit them.

        Classified by itself, with queries and keys exchanged, so it is as compact as the table.
        """
        return self.classify_columns()

    @property
    def visits(self) -> BoxTable | RunTable:
        """What executors follow."""
        return self.boxes if self.boxes is not None else self.table


@dataclass(frozen=True)
class Plan:
    """What to compute for one problem, and what is proved about it.

    Heads that fold alike share a layout: see :mod:`attnlang.compiler.plan.apart`.

    exact: every tile marked empty is empty, every one marked full is full, every one marked
    partial is neither. When False, only the first two are proved: partial may be more. branches:
    plans of disjoint pairs that together are these, where executors follow them instead: see
    :mod:`attnlang.compiler.plan.branches`.
    """

    problem: Problem
    heads: tuple[HeadPlan, ...]
    exact: bool
    known: Known = field(default_factory=Known, repr=False)
    branches: tuple[Plan, ...] = ()

    @property
    def layout(self) -> Layout:
        """How tokens are cut: for all heads, or for the first where they are not cut alike."""
        return self.heads[0].layout

    @cached_property
    def parts(self) -> tuple[Plan, ...]:
        """Plans of one layout each, whose heads together are all heads."""
        groups: dict[int, list[HeadPlan]] = {}
        for group in self.heads:
            groups.setdefault(id(group.layout), []).append(group)
        if len(groups) == 1:
            return (self,)
        return tuple(replace(self, heads=tuple(own)) for own in groups.values())

    @property
    def layouts(self) -> tuple[str, ...]:
        """The layout in words; that of each part and whose it is, where there are several."""
        if self.branches:
            return tuple(f"{b.pairs_text}: {x}" for b in self.branches for x in b.layouts)
        if len(self.parts) == 1:
            return (str(self.layout),)
        return tuple(f"{heads_text(part.all_heads)}: {part.layout}" for part in self.parts)

    @property
    def layout_text(self) -> str:
        """All of :attr:`layouts` in one line."""
        return "; ".join(self.layouts)

    @property
    def pairs_text(self) -> str:
        """Which pairs the first heads attend, cut short."""
        text = to_text(self.heads[0].where)
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

    @property
    def all_heads(self) -> tuple[int, ...]:
        """Those of all groups, ascending."""
        return tuple(sorted(h for group in self.heads for h in group.heads))

    @property
    def rows(self) -> int:
        """Query tiles of the first heads."""
        return self.layout.q.tiles

    @cached_property
    def tiles(self) -> dict[str, int]:
        """Full, partial and empty tile pairs, over all heads and branches."""
        total = {"full": 0, "partial": 0, "empty": 0}
        for group in self.followed:
            for kind, count in group.visits.tiles().items():
                total[kind] += count * len(group.heads)
        return total

    @property
    def followed(self) -> tuple[HeadPlan, ...]:
        """What executors follow: the heads' plans, those of every branch where there are some."""
        return tuple(g for b in self.branches for g in b.followed) or self.heads

    @cached_property
    def pairs(self) -> int:
        """Exactly how many (head, query, key) attend. Needs every run-time tensor."""
        from attnlang.compiler.plan.count import count_pairs

        if self.branches:
            return sum(branch.pairs for branch in self.branches)
        return sum(count_pairs(self, group) * len(group.heads) for group in self.heads)

    @property
    def density(self) -> float:
        """Attending pairs over all pairs."""
        everything = self.problem.heads * self.problem.q_len * self.problem.k_len
        return self.pairs / everything if everything else 0.0

    @property
    def visited(self) -> int:
        """Slots of all visited tiles over all heads, padding included."""
        return sum(self.visited_by(group) * len(group.heads) for group in self.followed)

    def visited_by(self, group: HeadPlan) -> int:
        """The slots that one head of a group visits."""
        if group.boxes is not None:
            return group.boxes.visited
        return group.table.live * group.layout.area

    @property
    def waste(self) -> float:
        """Visited slots over attending pairs: 1.0 is perfect."""
        return self.visited / self.pairs if self.pairs else float("inf") if self.visited else 1.0

    @property
    def nbytes(self) -> int:
        """Memory of the tables."""
        return sum(g.visits.nbytes for g in self.followed)

    @cached_property
    def facts(self) -> dict[str, bool]:
        """What is proved: see :mod:`attnlang.compiler.plan.facts`."""
        from attnlang.compiler.plan.facts import prove

        return prove(self)

    def tile_map(self, head: int = 0) -> np.ndarray:
        """``[query tiles, key tiles]`` of 0 empty, 1 partial, 2 full, for one head."""
        return next(g for g in self.heads if head in g.heads).table.dense()

    def __repr__(self) -> str:
        t = self.tiles
        return (
            f"<Plan {self.problem.pattern.name}: {t['full']} full, {t['partial']} partial, "
            f"{t['empty']} empty tiles; {self.layout_text}>"
        )
