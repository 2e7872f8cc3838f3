"""Bound program -> report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from attnlang.compiler.analysis.leaves import Known
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    PairProduct,
    Pool,
    Product,
    Recurrence,
    Rule,
    Search,
    Select,
    SizeOf,
    Turn,
    weights_of,
)
from attnlang.compiler.ir.reads import read_names
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import ONE, READOUTS, Map, Tensor, tensors
from attnlang.compiler.plan.make import make
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep, bound_steps
from attnlang.compiler.report.facts import Fact
from attnlang.compiler.report.measure import measure
from attnlang.compiler.report.relation import relations
from attnlang.compiler.report.report import Report
from attnlang.compiler.report.steps.amounts import (
    attending,
    candidates,
    choices,
    least,
    members,
)
from attnlang.compiler.report.steps.cache import Reading, cached
from attnlang.compiler.report.steps.cost import FREE
from attnlang.compiler.report.steps.costs import Attended, Costs
from attnlang.compiler.report.steps.fed import fed
from attnlang.compiler.report.steps.halving import asked, scored_each
from attnlang.compiler.report.steps.linear import linear
from attnlang.compiler.report.steps.model import (
    AttentionStep,
    LinearStep,
    PoolStep,
    ProgramReport,
    SelectStep,
    StepReport,
    TensorStep,
)
from attnlang.compiler.report.steps.sets import (
    Chosen,
    chosen_by,
    possible,
    reads_sets,
    with_where,
)
from attnlang.compiler.report.steps.widths import widths

Knows: TypeAlias = Callable[[Problem], Known]
"""The run-time tensors of one step that are known."""
RESULT = "return"
"""The name of what a program returns, where that is an expression: no pattern can write it."""


@dataclass(slots=True)
class _Made:
    """What the steps before have made."""

    bound: BoundProgram
    knows: Knows
    sizes: Mapping[str, int]
    costs: Costs
    sets: dict[str, Chosen] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    causal: bool = True
    depends: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def widths(self) -> Mapping[str, int]:
        """The features of every tensor."""
        return self.costs.widths


def measure_program(
    made: BoundProgram, sizes: Mapping[str, int], knows: Knows, planning_ms: float = 0.0
) -> ProgramReport:
    """Count what every step costs. sizes: as the user names them. knows: of every step's problem,
    which of its run-time tensors are known; selections never are."""
    state = _Made(made, knows, sizes, Costs(made, widths(made)))
    frame = made.frame
    steps = tuple(_steps(state))
    costs = [s.cost.amount for s in steps]
    lying = made.spaces
    sequence = frame.pattern.self_attention and len(frame.pattern.q_axes) == 1
    found = None
    if sequence and state.causal:
        learned = {i.name for i in frame.pattern.inputs if "batch" not in i.dims}
        of_tokens = [r for r in state.readings if r.tensor not in learned]
        found = cached(of_tokens, {n: s == lying["k"] for n, s in lying.items()})
    states = [s for s in steps if isinstance(s, LinearStep)]
    return ProgramReport(
        pattern=frame.pattern.name,
        params=frame.pattern.values,
        sizes=tuple(sizes.items()),
        queries=frame.q_len,
        keys=frame.k_len,
        heads=frame.heads,
        kv_heads=frame.kv_heads,
        head_dim=frame.head_dim,
        steps=steps,
        forward=None if None in costs else sum(c for c in costs if c is not None),
        traffic=sum(s.cost.bytes for s in steps),
        dense=4 * frame.head_dim * frame.heads * frame.q_len * frame.k_len,
        depends=tuple(state.depends),
        cache=found,
        state=sum(s.state * (s.heads[1] - s.heads[0]) for s in states),
        planning_ms=planning_ms,
        notes=tuple(dict.fromkeys(state.notes)),
    )


def of_step(report: ProgramReport, name: str) -> ProgramReport:
    """What the report says of one attention or selection. name: as of its pattern, whole."""
    own = name.partition(".")[2]
    step = next(s for s in report.steps if s.name == own)
    match step:
        case AttentionStep(sets=sets):
            depends = sets
        case SelectStep():
            depends = (own,)
        case LinearStep(reads=reads):
            depends = reads
        case _:
            depends = ()
    return replace(
        report,
        pattern=name,
        steps=(step,),
        forward=step.cost.amount,
        traffic=step.cost.bytes,
        depends=depends,
        cache=None,
        state=step.state * (step.heads[1] - step.heads[0]) if isinstance(step, LinearStep) else 0,
    )


def _steps(state: _Made) -> Iterator[StepReport]:
    made = state.bound
    lying = made.spaces
    bound = {s.name: s for s in bound_steps(made)}
    for step in made.program.steps:
        match step:
            case Pool(name=name, source=source, space=space):
                tokens = made.tokens(lying[source]), made.tokens(space)
                cost = state.costs.pool(step)
                yield PoolStep(name, source, space.axes, str(step.reduction), tokens, cost)
            case (
                Assign(name=name, value=value, space=space)
                | Turn(name=name, value=value, space=space)
            ):
                reads = tuple(dict.fromkeys(tensors(value)))
                reader = value.function if isinstance(value, Map) else None
                readout = reader if reader in READOUTS else None
                cost = state.costs.tensor(step)
                yield TensorStep(name, reads, readout, made.tokens(space), cost)
            case Select():
                yield _select(step, bound[_name(step.pattern)], state)
            case Attention(branches=branches):
                told = step.name in made.program.told
                for branch in branches:
                    here = bound[_name(branch.pattern)]
                    if here.problem is None:
                        state.notes.append(f"`{here.name}` has no tokens or heads at this size")
                    elif isinstance(branch, Recurrence):
                        found = linear(here, branch, made, state.costs)
                        state.depends |= dict.fromkeys(found.reads)
                        state.causal &= branch.causal
                        yield found
                    else:
                        yield _attention(branch, here, here.problem, state, told)
    result = made.program.result
    if not isinstance(result, Tensor):
        reads, cost = tuple(dict.fromkeys(tensors(result))), state.costs.result(result)
        yield TensorStep(RESULT, reads, None, made.tokens(lying["q"]), cost)


def _name(pattern: PatternIR) -> str:
    return pattern.name.partition(".")[2]


def _select(step: Select, here: BoundStep, state: _Made) -> SelectStep:
    made = state.bound
    found = chosen_by(step, here, made, state.sets)
    frame = made.frame
    sets = {"head": frame.heads, "kv_head": frame.kv_heads}.get(step.dims[0], 1)
    pairs = None
    if here.problem is not None:
        known = state.knows(here.problem)
        pairs = candidates(here.problem, state.sets, known)
        state.depends |= dict.fromkeys(_unknown(here.problem, known, state))
        if here.keys["keys"].axes != (ONE,):
            state.readings.append(_reading(step.key, here.problem, state))
    state.sets[step.name] = found
    read = read_names(made.program.steps, made.program.result)
    looked, scored = None, None if pairs is None else pairs.total
    if step.search is not Search.ALL:
        looked, each = asked(found, made), scored_each(found, here, made)
        if scored is not None and each is not None:
            most = choices(found, made) * looked * each * (frame.heads // sets)
            scored = min(scored, most)
    state.depends[step.name] = None
    cost = state.costs.select(step, found, here, scored)
    return SelectStep(
        name=step.name,
        query=None if here.query.axes == (ONE,) else step.query,
        key=None if found.k.axes == (ONE,) else step.key,
        sets=sets,
        choices=choices(found, made),
        rule=_rule(step.rule, made),
        per=tuple(step.dims[i] for i in step.rule.per if step.dims[i] != ONE),
        candidates=pairs,
        members=members(found, made, sets),
        of=found.k.size * (found.q.size if found.k.axes == (ONE,) else 1),
        forward=cost.named("scores"),
        asked=looked,
        least=least(found, made, sets),
        gradient=str(step.gradient) if weights_of(step.name) in read else None,
        cost=cost,
    )


def _rule(rule: Rule, made: BoundProgram) -> str:
    if isinstance(rule.amount, SizeOf):
        kind = "most" if rule.amount.largest else "count"
        return f"{rule.kind} {kind}({rule.amount.name})"
    amount = made.number(rule.amount)
    return f"{rule.kind} {int(amount) if rule.kind == 'top' else f'{float(amount):g}'}"


def _attention(
    branch: Branch, here: BoundStep, problem: Problem, state: _Made, told: bool
) -> AttentionStep:
    sets = tuple(n for n in state.sets if any(_reads(g.attend.where, n) for g in problem.groups))
    known = state.knows(problem)
    state.depends |= dict.fromkeys(_unknown(problem, known, state))
    upper = with_where(problem, lambda x: possible(x, state.sets))
    report = measure(make(upper, None, known), state.sizes, problem.head_dim, 0.0)
    by_rule = None
    if sets:
        by_rule = attending(problem, state.sets, known, state.bound)
        report = _with_rows(report, problem, known, state)
    causal = report.fact("causal").holds
    whole = state.bound.spaces
    for name in branch.keys:
        if whole[name].whole:
            state.causal &= causal is True
    if len(branch.keys) == 1:
        state.readings.append(_reading(branch.keys[0], problem, state))
    else:
        state.causal = False
    products = sum(_products(x, branch, here, state) for x in branch.products)
    pairs = report.pairs.at_most if by_rule is None else by_rule.total
    attended = Attended(
        branch, here.heads, pairs, products, bool(sets) or report.pairs.count is None
    )
    state.costs.attended[here.name] = attended
    return AttentionStep(
        here.name, branch.query, branch.keys, (here.start, here.stop), sets, report, by_rule,
        products, told, FREE if told else state.costs.attention(attended, here),
    )  # fmt: skip


def _products(made: Product | PairProduct, branch: Branch, here: BoundStep, state: _Made) -> int:
    """FLOPs of every token of a side times every vector of a table, or of one for every pair."""
    bound, width = state.bound, state.widths[branch.query]
    frame = bound.frame
    if isinstance(made, PairProduct):
        keys = sum(bound.tokens(s) for s in here.keys.values())
        return 3 * width * here.heads * bound.tokens(here.query) * keys
    decl = next(i for i in frame.pattern.inputs if i.name == made.table)
    shape = input_shape(decl, None, frame, 1)[decl.dims[:1] == ("batch",) :]
    vectors = math.prod(shape[made.by_head : -1])
    spaces = [here.query] if made.side is Side.Q else list(here.keys.values())
    return 2 * width * vectors * here.heads * sum(bound.tokens(s) for s in spaces)


def _with_rows(report: Report, problem: Problem, known: Known, state: _Made) -> Report:
    """What holds of every pair that may attend holds of those that do, but for non-empty rows."""
    holds = fed(problem, state.sets, known, state.bound) or None
    facts = tuple(Fact(f.name, holds) if f.name == "rows_nonempty" else f for f in report.facts)
    return replace(report, facts=facts)


def _reading(tensor: str, problem: Problem, state: _Made) -> Reading:
    upper = with_where(problem, lambda x: possible(x, state.sets))
    return Reading(tensor, relations(upper, state.knows(problem)))


def _reads(where: Expr, name: str) -> bool:
    return any(isinstance(x, e.Table) and x.name == name for x in walk(where))


def _unknown(problem: Problem, known: Known, state: _Made) -> Iterator[str]:
    """Inputs that decide which pairs attend and are not known."""
    parameters = dict(problem.pattern.values)
    for group in problem.groups:
        for x in walk(group.attend.where):
            if (
                isinstance(x, e.TokenInput | e.Table)
                and x.name not in parameters
                and not known.covers(x)
                and not reads_sets(x, state.sets)
            ):
                yield x.name
