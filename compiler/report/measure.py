"""Plan -> report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.problem.steps import rebind
from attnlang.compiler.report.cache import cache_bound
from attnlang.compiler.report.facts import facts
from attnlang.compiler.report.formula import Formula, pairs_formula
from attnlang.compiler.report.growth import growth
from attnlang.compiler.report.keys import rows_of, solved_pairs_of, tiled_rows
from attnlang.compiler.report.reach import reach
from attnlang.compiler.report.relation import Relation, relations
from attnlang.compiler.report.report import Cost, Keys, Memory, Pairs, Report, Shape, Tiles
from attnlang.compiler.report.rows import Rows
from attnlang.compiler.report.scaling import counted_sizes, representative_sizes
from attnlang.compiler.report.solution import solutions

ELEMENT_BYTES = 2
"""Of q, k, v and out: bfloat16."""


def measure(plan: Plan, sizes: Mapping[str, int], head_dim: int, planning_ms: float) -> Report:
    """Count what a plan costs. sizes: as the user names them; planning_ms: how long it took."""
    problem = plan.problem
    classes = relations(problem, plan.known)
    rows = tuple(_rows(plan, x) for x in classes)
    shape = Shape(
        tuple(sizes.items()),
        problem.q_len,
        problem.k_len,
        problem.heads,
        problem.kv_heads,
        len(classes),
        head_dim,
    )
    pairs = _pairs(plan, shape, classes, rows)
    counted = counted_sizes(problem, head_dim)
    held = facts(plan, classes, rows)
    sequence = problem.pattern.self_attention and len(problem.pattern.q_axes) == 1
    causal = any(f.name == "causal" and f.holds for f in held)
    tensors = head_dim * (problem.heads * problem.q_len + problem.kv_heads * problem.k_len)
    return Report(
        pattern=problem.pattern.name,
        params=problem.pattern.values,
        shape=shape,
        pairs=pairs,
        tiles=_tiles(plan, pairs, planning_ms),
        cost=_cost(plan, shape, pairs),
        memory=Memory(
            tensors=2 * ELEMENT_BYTES * tensors,
            dense_mask=len(classes) * problem.q_len * problem.k_len,
            tables=plan.nbytes,
        ),
        solutions=solutions(problem),
        facts=held,
        formula=_formula(plan, classes, head_dim) if sequence and pairs.count is not None else None,
        growth=growth(representative_sizes(problem, counted, head_dim)),
        cache=cache_bound(classes, counted) if sequence and causal else None,
        reach=reach(plan, classes, rows),
        notes=_notes(plan, classes, rows),
    )


def missing_inputs(plan: Plan) -> tuple[str, ...]:
    """Names of run-time tensors that decide which pairs attend and were not given."""
    return tuple(
        sorted(
            {
                x.name
                for group in plan.heads
                for x in walk(group.where)
                if isinstance(x, e.TokenInput | e.Table) and not plan.known.covers(x)
            }
        )
    )


def _rows(plan: Plan, relation: Relation) -> Rows | None:
    found = rows_of(relation)
    return tiled_rows(plan, _group(plan, relation)) if found is None else found


def _group(plan: Plan, relation: Relation) -> HeadPlan:
    return next(g for g in plan.heads if relation.heads[0] in g.heads)


def _pairs(
    plan: Plan, shape: Shape, classes: Sequence[Relation], rows: Sequence[Rows | None]
) -> Pairs:
    whole = [r for r in rows if r is not None and r.exact]
    if len(whole) == len(rows):
        count = sum(r.pairs * len(x.heads) for x, r in zip(classes, whole, strict=True))
        density = count / max(shape.pairs, 1)
        return Pairs(count, count, density, _keys(count, shape, whole))
    at_most = 0
    for relation, found in zip(classes, rows, strict=True):
        most = min(plan.visited_by(_group(plan, relation)), shape.queries * shape.keys)
        at_most += len(relation.heads) * (most if found is None else min(most, found.pairs))
    return Pairs(None, at_most, None, None)


def _keys(count: int, shape: Shape, rows: Sequence[Rows]) -> Keys | None:
    if not shape.queries:
        return None
    least = min(int(r.keys.min()) for r in rows)
    most = max(int(r.keys.max()) for r in rows)
    return Keys(least, count / (shape.heads * shape.queries), most)


def _tiles(plan: Plan, pairs: Pairs, planning_ms: float) -> Tiles:
    kinds, slots = plan.tiles, plan.visited
    return Tiles(
        full=kinds["full"],
        partial=kinds["partial"],
        empty=kinds["empty"],
        share=_share(plan),
        slots=slots,
        waste=slots / pairs.count if pairs.count else None,
        exact=plan.exact,
        layouts=plan.layouts,
        planning_ms=planning_ms,
    )


def _share(plan: Plan) -> float:
    """Tiles visited by a head, in all its branches, over its tiles; averaged over heads."""
    total = 0.0
    for group in plan.followed:
        kinds = group.visits.tiles()
        total += len(group.heads) * (1 - kinds["empty"] / max(sum(kinds.values()), 1))
    return total / len(plan.all_heads)


def _formula(plan: Plan, classes: Sequence[Relation], head_dim: int) -> Formula | None:
    """Pairs of one head as a formula of the length, where all heads attend alike."""
    problem = plan.problem
    if len(classes) > 1 or len(problem.q) > 1 or missing_inputs(plan) or problem.pattern.inputs:
        return None

    def count(length: int) -> int:
        sizes = {problem.pattern.q_axes[0]: length}
        scaled = rebind(problem, sizes, head_dim)
        found = solved_pairs_of(relations(scaled)[0])
        if found is None:
            raise PatternError(())
        return found

    try:
        return pairs_formula(problem.pattern, count, problem.q_len)
    except PatternError:  # a length that cannot be counted
        return None


def _cost(plan: Plan, shape: Shape, pairs: Pairs) -> Cost:
    each = 4 * shape.head_dim
    forward = None if pairs.count is None else each * pairs.count
    return Cost(
        forward=forward,
        backward=None if forward is None else forward * 5 // 2,
        dense_forward=each * shape.pairs,
        speedup_pairs=shape.pairs / pairs.count if pairs.count else None,
        speedup_tiles=shape.pairs / max(plan.visited, 1),
    )


def _notes(plan: Plan, classes: Sequence[Relation], rows: Sequence[Rows | None]) -> tuple[str, ...]:
    notes = []
    missing = missing_inputs(plan)
    if missing:
        names = " and ".join(f"`{name}`" for name in missing)
        declared = [plan.problem.pattern.input(name) for name in missing]
        by_head = any(i.sides and "head" in i.dims for i in declared)
        why = "not analysed, as it differs by head" if by_head else "not given here"
        outer = plan.problem.outer
        if outer and not set(missing) & {i.name for i in outer.frame.pattern.inputs}:
            why = "made by an earlier step"
        notes.append(f"which pairs attend depends on {names}, {why}: these are bounds")
    elif any(r is None for r in rows):
        notes.append("pairs not counted, there are too many partial tiles: these are bounds")
    if plan.branches:
        many = len(plan.branches)
        notes.append(f"run as {many} attentions of disjoint pairs, whose outputs their lse merges")
    if not plan.exact and not missing:
        notes.append("some tiles count as partial without proof that they are")
    return tuple(notes)
