"""The cost of every kind of step, in one batch element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side
from attnlang.compiler.ir.pattern import Attend
from attnlang.compiler.ir.program import (
    Assign,
    Branch,
    Normalise,
    Pool,
    Recurrence,
    Reduction,
    Search,
    Select,
    Turn,
    condition_by_head,
    weights_of,
)
from attnlang.compiler.ir.reads import names_in, read_names
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import (
    COUNTS,
    OF_KEYS,
    READOUTS,
    Map,
    Space,
    Tensor,
    Vector,
    is_number,
)
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep
from attnlang.compiler.report.steps.amounts import choices, top
from attnlang.compiler.report.steps.cost import FREE, Cost, Factor, Term, term
from attnlang.compiler.report.steps.halving import asked, runs_of_key
from attnlang.compiler.report.steps.sets import Chosen
from attnlang.compiler.report.steps.vectors import operations
from attnlang.compiler.report.steps.widths import heads_of, width_of

FEATURE_BYTES, NUMBER_BYTES, MEMBER_BYTES = 2, 4, 4
INPUT_BYTES = {Kind.BOOL: 1, Kind.INT: 8, Kind.FLOAT: 4}
EACH_NORMALISE = {Normalise.NONE: 0, Normalise.SOFTMAX: 3, Normalise.MINMAX: 2}
"""exp, sum, division; difference, division."""
Terms: TypeAlias = tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Attended:
    """A softmax attention that later steps may read numbers of. pairs: at most. products:
    operations of the products with tables that are made before."""

    branch: Branch
    heads: int
    pairs: int
    products: int
    at_most: bool


@dataclass(frozen=True, slots=True)
class Costs:
    """widths: features by tensor. sets: what the sets so far take, and their weights. entries: of
    the tables of these sets. attended: the attentions so far that have one branch."""

    bound: BoundProgram
    widths: Mapping[str, int]
    sets: dict[str, Term] = field(default_factory=dict)
    entries: dict[str, int] = field(default_factory=dict)
    attended: dict[str, Attended] = field(default_factory=dict)

    def pool(self, step: Pool) -> Cost:
        """All tokens that are read, as often as runs have them; or pairs, by a condition."""
        bound, source = self.bound, self.bound.spaces[step.source]
        shape = (heads_of(step.name, bound), "heads"), (self.widths[step.name], "features")
        names = [step.source]
        work: Terms = ()
        match step:
            case Pool(chosen=str(chosen), reduction=how):
                names.append(chosen)
                if how is Reduction.PUT:
                    work = (term("put", *shape, (bound.tokens(source), "slots")),)
            case Pool(where=where, reduction=how) if where is not None:
                names += [i.name for i in where.inputs]
                pairs = bound.tokens(source) * bound.tokens(step.space)
                twice = (2,) if how in (Reduction.SUM, Reduction.MEAN) else ()
                work = (term(how, *twice, *shape, (pairs, "pairs")),)
            case Pool(reduction=how) if how not in (Reduction.FIRST, Reduction.LAST):
                work = (term(how, *shape, (self._covered(step, source), "tokens")),)
        return Cost(work, tuple(self.read([*names, step.name])))

    def tensor(self, step: Assign | Turn) -> Cost:
        """An expression, feature by feature, or numbers of an attention or a set."""
        names = [*dict.fromkeys(names_in(step.value)), step.name]
        match step.value:
            case Map(function="rank"):
                heads, n = heads_of(step.name, self.bound), self.bound.tokens(step.space)
                work: Terms = (term("sort", (heads, "heads"), (n, "tokens"), _sorting(n)),)
            case Map(function="lse"):
                return Cost((), tuple(self.read([step.name])))
            case Map(function=kind, arguments=(Tensor(name=name), *weights)) if name in self.sets:
                each = (2,) if weights else ()
                work = (term(kind, *each, (self.entries[name], "entries")),)
            case Map(function=kind, arguments=(Tensor(name=name), *_)) if kind in READOUTS:
                of = self.attended[name]
                read = () if kind in COUNTS else (of.branch.query, *of.branch.keys)
                names = [*read, *_tables(of.branch), *names[1:]]
                return Cost(self._again(kind, of), tuple(self.read(names)), of.at_most)
            case Tensor():  # another name
                return FREE
            case value:
                work = self._work(value, step.made if isinstance(step, Turn) else step.space)
        return Cost(work, tuple(self.read(names)))

    def result(self, value: Vector) -> Cost:
        """What a program returns, where that is an expression."""
        space = self.bound.spaces["q"]
        width = width_of(value, self.widths, self.bound)
        out = self._features("out", self.bound.frame.heads, self.bound.tokens(space), width)
        return Cost(self._work(value, space), (*self.read(dict.fromkeys(names_in(value))), out))

    def attention(self, of: Attended, here: BoundStep) -> Cost:
        """Two products for each pair, and one more for each further pass over the keys."""
        branch = of.branch
        out = self.widths[branch.values[0]]
        work = self._attended(of, self.widths[branch.keys[0]] + out)
        result = self._features("out", here.heads, self.bound.tokens(here.query), out)
        tensors = self._shares((branch.query, *branch.keys, *branch.values), here)
        return Cost(work, (*tensors, *self.read(_tables(branch)), result), of.at_most)

    def linear(self, step: Recurrence, here: BoundStep, each: int, state: int) -> Cost:
        """each: operations of a token and head. state: bytes of a head's."""
        tokens, heads = self.bound.tokens(here.query), (here.heads, "heads")
        numbers = (x for x in (step.decay, step.delta, step.logit) if x is not None)
        inputs = {i.name for i in step.pattern.inputs}
        inputs |= {n.name for x in numbers for n in walk(x) if isinstance(n, NAMED)}
        traffic = (
            *self._shares((step.query, step.key, step.value), here),
            *self.read(sorted(inputs)),
            term("state", heads, (state, "B")),
            self._features("out", here.heads, tokens, self.widths[step.value]),
        )
        return Cost((term("recurrence", (each, "operations"), heads, (tokens, "tokens")),), traffic)

    def select(self, step: Select, found: Chosen, here: BoundStep, pairs: int | None) -> Cost:
        """Scores of candidates, what is done to them, and comparisons by the rule. pairs: whose
        scores are asked for, over the query heads."""
        bound, frame = self.bound, self.bound.frame
        sets = {"head": frame.heads, "kv_head": frame.kv_heads}.get(step.dims[0], 1)
        self._keep(step, found, sets)
        names = [step.query, step.key, *dict.fromkeys(i.name for i in step.pattern.inputs)]
        traffic = tuple(self.read([*names, step.name, weights_of(step.name)]))
        if pairs is None:
            return Cost(None, traffic)
        pairs = pairs * heads_of(step.query, bound) // frame.heads
        asked_for, work = (pairs, "pairs"), []
        if is_product(step):
            work.append(term("scores", 2, (self.widths[step.query], "features"), asked_for))
        if step.normalise is not Normalise.NONE:
            each = EACH_NORMALISE[step.normalise]
            work.append(term(f"normalise {step.normalise}", each, asked_for))
        if sets < frame.heads:
            work.append(term(f"share {step.share}", asked_for))
        if step.gather is not None:
            runs = runs_of_key(found, here, bound)
            several = [(runs, "runs")] if runs > 1 else []
            work.append(term(f"gather {step.gather.rule}", asked_for, *several))
        if step.rows is not None:
            work.append(term(f"gather rows {step.rows.rule}", asked_for))
        rule, among = step.rule, found.q.size * found.k.size
        if step.search is not Search.ALL:
            among = choices(found, bound) * asked(found, bound) // sets
        elif step.gather is None and step.rows is None:
            among = pairs // frame.heads
        compared: list[Factor] = [(sets * among, "candidates")]
        if rule.kind == "mass":
            compared.append(_sorting(-(-sets * among // max(choices(found, bound), 1))))
        work.append(term(f"rule {rule.kind}", *compared))
        return Cost(tuple(work), traffic, True)

    def read(self, names: Iterable[str]) -> Iterator[Term]:
        """Bytes of tensors, numbers, inputs and sets, once."""
        for name in names:
            found = self._one(name, 1, 1)
            if found is not None:
                yield found

    def _shares(self, names: Iterable[str], here: BoundStep) -> Iterator[Term]:
        """Bytes of tensors, of the heads that some query heads read."""
        for name in names:
            found = self._one(name, here.heads, self.bound.frame.heads)
            if found is not None:
                yield found

    def _one(self, name: str, some: int, heads: int) -> Term | None:
        if name in self.sets:
            return self.sets[name]
        if name in self.widths:
            own = -(-heads_of(name, self.bound) * some // heads)
            tokens = self.bound.tokens(self.bound.spaces[name])
            if name in _numbers(self.bound):
                return term(name, (NUMBER_BYTES, "B"), (own, "heads"), (tokens, "tokens"))
            return self._features(name, own, tokens, self.widths[name])
        frame = self.bound.frame
        decl = next((i for i in frame.pattern.inputs if i.name == name), None)
        if decl is None:
            return None
        shape = input_shape(decl, decl.sides[0] if decl.sides else None, frame, 1)
        return term(name, (INPUT_BYTES[decl.kind], "B"), *shape)

    def _keep(self, step: Select, found: Chosen, sets: int) -> None:
        """What a set takes: a table, or lists where each query has few members."""
        most = top(step.rule, self.bound)
        rows = (sets, "sets"), (found.q.size, "queries")
        self.entries[step.name] = sets * found.q.size * found.k.size
        of, each = (found.k.size, "keys"), 1
        if most is not None and found.by_query and 4 * most <= found.k.size:
            of, each = (most, "members"), MEMBER_BYTES
        self.sets[step.name] = term(step.name, (each, "B"), *rows, of)
        read = read_names(self.bound.program.steps, self.bound.program.result)
        if weights_of(step.name) in read:
            name = weights_of(step.name)
            self.sets[name] = term(name, (NUMBER_BYTES, "B"), *rows, (found.k.size, "keys"))

    def _again(self, kind: str, of: Attended) -> Terms:
        """The attention with values of one feature; for sums of each key once more backwards.
        Counts need no scores: their queries and keys have one feature too."""
        if kind in COUNTS:
            pairs = of.pairs if condition_by_head(of.branch.pattern) else of.pairs // of.heads
            passes = 2 if kind in OF_KEYS else 1
            return (term(kind, 2, (passes, "passes"), (2, "features"), (pairs, "pairs")),)
        wide = self.widths[of.branch.keys[0]] + 1
        first = self._attended(of, wide)
        if kind not in OF_KEYS:
            return first
        return (*first, term("backwards", 2, (wide, "features"), (of.pairs, "pairs")))

    def _attended(self, of: Attended, width: int) -> Terms:
        """width: features of a key and of a value."""
        pairs = of.pairs, "pairs"
        work = [term("scores and sums", 2, (width, "features"), pairs)]
        passes = len({x for g in of.branch.pattern.groups for x in _largest(g.attend)})
        if passes:
            wide = self.widths[of.branch.keys[0]], "features"
            work.append(term("largest scores", 2, (passes, "passes"), wide, pairs))
        if of.products:
            work.append(term("products with tables", of.products))
        return tuple(work)

    def _work(self, value: Vector, space: Space) -> Terms:
        frame = self.bound.frame
        heads = {Side.Q: frame.heads, Side.K: frame.kv_heads, None: 1}[space.heads]
        return operations(value, heads, self.bound.tokens(space), self.widths, self.bound)

    @staticmethod
    def _features(name: str, heads: int, tokens: int, width: int) -> Term:
        shape = (heads, "heads"), (tokens, "tokens"), (width, "features")
        return term(name, (FEATURE_BYTES, "B"), *shape)

    def _covered(self, step: Pool, source: Space) -> int:
        """Tokens that runs have, those of several as often; all along an axis without runs."""
        parts = {p.name: p for p in self.bound.program.parts}
        cut = {parts[a].axis: a for a in step.space.axes if a in parts and not parts[a].own}
        if "index" in cut:
            return self._in_runs(source, cut["index"])
        lengths = zip(source.axes, self.bound.lengths(source), strict=True)
        return math.prod(self._in_runs(source, cut[a]) if a in cut else n for a, n in lengths)

    def _in_runs(self, source: Space, part: str) -> int:
        runs = self.bound.runs[source.side, part]
        ends = (min(i * runs.stride + runs.size, runs.length) for i in range(runs.count))
        return sum(end - i * runs.stride for i, end in enumerate(ends))


NAMED = e.TokenInput | e.Table


def is_product(step: Select) -> bool:
    """Is the score made of the product of query and key?"""
    score = step.pattern.groups[0].attend.score
    return score is None or any(x == e.Symbol(e.SymbolName.SCORE) for x in walk(score))


def _numbers(made: BoundProgram) -> set[str]:
    """The tensors of one feature that steps read as numbers."""
    steps = made.program.steps
    return {s.name for s in steps if isinstance(s, Assign) and is_number(s.value)}


def _tables(branch: Branch) -> tuple[str, ...]:
    """The inputs, numbers and sets that an attention reads."""
    made = {x.name: x.table for x in branch.products}
    return tuple(dict.fromkeys(made.get(i.name, i.name) for i in branch.pattern.inputs))


def _largest(attend: Attend) -> Iterator[Expr]:
    """The scores of which the largest of a row is read."""
    for root in (attend.score, attend.sink, attend.gain):
        for x in () if root is None else walk(root):
            if isinstance(x, e.Apply) and x.function == "row_max":
                yield x


def _sorting(n: int) -> Factor:
    return max(n - 1, 1).bit_length(), "comparisons"
