"""The report on one pattern at one size: what it costs, what holds of it, how it scales.

Everything is counted, nothing is estimated: what could not be counted is None, and a note says
why. Sizes are those of one batch element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnlang.compiler.ir.pattern import ParameterValue
from attnlang.compiler.plan.plan import Plan
from attnlang.compiler.report.cache import Cache, cache_bound
from attnlang.compiler.report.facts import Fact, facts
from attnlang.compiler.report.growth import Growth, growth
from attnlang.compiler.report.keys import rows_of, tiled_rows
from attnlang.compiler.report.reach import Reach, reach
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.rows import Rows
from attnlang.compiler.report.scaling import counted_sizes

BYTES = 2
"""Of an element of q, k, v and out: bfloat16."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys per query: the fewest, the average and the most, over queries and heads."""

    least: int
    mean: float
    most: int


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tile pairs over all heads. slots: what visiting costs, padding included."""

    full: int
    partial: int
    empty: int
    slots: int
    exact: bool
    layout: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations of one forward and backward pass, and of dense attention's.

    Two products of ``2 * head_dim`` each per pair forward, two and a half times that backward.
    """

    forward: int
    backward: int
    dense_forward: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: q, k, v and out in bfloat16; the dense mask that is never made; the plan's tables."""

    tensors: int
    dense_mask: int
    tables: int


@dataclass(frozen=True, slots=True)
class Report:
    """pairs: attending (head, query, key); pairs_at_most: the bound where they are not counted.

    speedup_tiles, speedup_pairs: dense attention's pairs over the slots visited, and over the
    pairs attended. No kernel can be faster than the second by skipping work, and none that uses
    these tiles than the first.
    """

    pattern: str
    params: tuple[tuple[str, ParameterValue], ...]
    sizes: tuple[tuple[str, int], ...]
    queries: int
    keys: int
    heads: int
    kv_heads: int
    head_dim: int
    pairs: int | None
    pairs_at_most: int
    density: float | None
    keys_per_query: Keys | None
    tiles: Tiles
    waste: float | None
    speedup_tiles: float
    speedup_pairs: float | None
    cost: Cost | None
    memory: Memory
    facts: tuple[Fact, ...]
    growth: Growth | None
    cache: Cache | None
    reach: Reach | None
    planning_ms: float
    notes: tuple[str, ...]

    def fact(self, name: str) -> Fact:
        return next(f for f in self.facts if f.name == name)


def make_report(plan: Plan, sizes: Sequence[tuple[str, int]], head_dim: int, planning_ms: float) -> Report:
    """Count what a plan costs. sizes: as the user names them, for the record."""
    problem = plan.problem
    classes = relations(problem, plan.known)
    rows = tuple(_rows(plan, x) for x in classes)
    everything = problem.heads * problem.q_len * problem.k_len
    pairs, at_most = _pairs(classes, rows), _pairs_at_most(plan, classes, rows)
    counted = counted_sizes(problem, head_dim)
    held = facts(plan, classes, rows)
    causal = any(f.name == "causal" and f.holds for f in held)
    sequence = len(problem.pattern.q_axes) == 1 and problem.pattern.self_attention
    tiles = Tiles(**plan.tiles, slots=plan.visited, exact=plan.exact, layout=str(plan.layout))
    flops = 4 * head_dim
    return Report(
        pattern=problem.pattern.name,
        params=problem.pattern.values,
        sizes=tuple(sizes),
        queries=problem.q_len,
        keys=problem.k_len,
        heads=problem.heads,
        kv_heads=problem.kv_heads,
        head_dim=head_dim,
        pairs=pairs,
        pairs_at_most=at_most,
        density=None if pairs is None else pairs / max(everything, 1),
        keys_per_query=_keys(classes, rows),
        tiles=tiles,
        waste=plan.visited / pairs if pairs else None,
        speedup_tiles=everything / max(plan.visited, 1),
        speedup_pairs=everything / pairs if pairs else None,
        cost=None if pairs is None else Cost(flops * pairs, flops * pairs * 5 // 2, flops * everything),
        memory=Memory(
            2 * BYTES * head_dim * (problem.heads * problem.q_len + problem.kv_heads * problem.k_len),
            len(classes) * problem.q_len * problem.k_len,
            plan.nbytes,
        ),
        facts=held,
        growth=growth(counted),
        cache=cache_bound(classes, counted) if causal and sequence else None,
        reach=reach(classes, rows, plan),
        planning_ms=planning_ms,
        notes=_notes(plan, classes, rows),
    )


def _rows(plan: Plan, relation: Relation) -> Rows | None:
    found = rows_of(relation)
    if found is None:
        group = next(g for g in plan.heads if relation.heads[0] in g.heads)
        return tiled_rows(plan, group)
    return found


def _pairs(classes: Sequence[Relation], rows: Sequence[Rows | None]) -> int | None:
    total = 0
    for relation, found in zip(classes, rows, strict=True):
        if found is None or not found.exact:
            return None
        total += found.pairs * len(relation.heads)
    return total


def _pairs_at_most(plan: Plan, classes: Sequence[Relation], rows: Sequence[Rows | None]) -> int:
    """The pairs, or what they are at most: by what is known of the predicate, or by tiles."""
    total = 0
    for relation, found in zip(classes, rows, strict=True):
        group = next(g for g in plan.heads if relation.heads[0] in g.heads)
        tiles = group.table.tiles()
        visited = (tiles["full"] + tiles["partial"]) * plan.layout.area
        most = min(visited, plan.problem.q_len * plan.problem.k_len)
        total += len(relation.heads) * (most if found is None else min(most, found.pairs))
    return total


def _keys(classes: Sequence[Relation], rows: Sequence[Rows | None]) -> Keys | None:
    whole = [(x, r) for x, r in zip(classes, rows, strict=True) if r is not None and r.exact]
    if len(whole) < len(classes) or not classes[0].q_len:
        return None
    queries = sum(len(x.heads) for x, _ in whole) * classes[0].q_len
    return Keys(
        min(int(r.keys.min()) for _, r in whole),
        sum(r.pairs * len(x.heads) for x, r in whole) / queries,
        max(int(r.keys.max()) for _, r in whole),
    )


def _notes(plan: Plan, classes: Sequence[Relation], rows: Sequence[Rows | None]) -> tuple[str, ...]:
    notes = []
    if not all(x.evaluable for x in classes):
        missing = ", ".join(f"`{name}`" for name in unknown_inputs(plan))
        notes.append(f"which pairs attend depends on {missing}: give it to count them exactly")
    elif any(r is None for r in rows):
        notes.append("pairs not counted: too many partial tiles; the figures are bounds from tiles")
    if not plan.exact:
        notes.append("some tiles are planned as partial without proof that they are")
    return tuple(notes)


def unknown_inputs(plan: Plan) -> tuple[str, ...]:
    """Names of run-time tensors that decide which pairs attend and were not given."""
    from attnlang.compiler.analysis.leaves import Known
    from attnlang.compiler.ir import expr as e
    from attnlang.compiler.ir.traverse import walk

    def given(known: Known, x: e.Expr) -> bool:
        return known.covers(x)

    names = {
        x.name
        for group in plan.heads
        for x in walk(group.where)
        if isinstance(x, e.TokenInput | e.Table) and not given(plan.known, x)
    }
    return tuple(sorted(names))
