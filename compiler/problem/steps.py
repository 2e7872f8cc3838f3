"""The problem of every attention and selection of a program, at the lengths of one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import (
    Branch,
    Owner,
    Recurrence,
    Select,
)
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.bind import Sizes, bind
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram, bind_program


@dataclass(frozen=True, slots=True)
class BoundStep:
    """start, stop: the query heads it is of. problem: None where it has no queries or no keys, or
    where none of the heads is left for it."""

    name: str
    owner: Owner
    start: int
    stop: int
    query: Space
    keys: Mapping[str, Space]
    problem: Problem | None

    @property
    def heads(self) -> int:
        return self.stop - self.start


def bound_steps(made: BoundProgram) -> Iterator[BoundStep]:
    """Attentions, branch by branch, and selections, in order."""
    lying = made.spaces
    for name, pattern, owner in made.program.owners:
        start, stop = 0, made.frame.heads
        match owner:
            case Branch(query=query, keys=keys, values=values):
                start, stop = made.heads_of(owner)
                sources = (*keys, *values)
            case Recurrence(query=query, key=key, value=value):
                start, stop = made.heads_of(owner)
                keys, sources = (key,), (key, value)
            case Select(query=query, key=key):
                keys, sources = ("keys",), (key,)
        of = {k: lying[s] for k, s in zip(keys, sources, strict=False)}
        problem = None
        if stop > start and made.tokens(lying[query]) and any(map(made.tokens, of.values())):
            kv_heads = max(_heads(lying[s], made, start, stop) for s in sources)
            problem = made.bound(
                pattern, lying[query], of, stop - start, kv_heads, made.frame.head_dim
            )
        yield BoundStep(name, owner, start, max(stop, start), lying[query], of, problem)


def _heads(space: Space, made: BoundProgram, start: int, stop: int) -> int:
    """Heads of a tensor that some query heads read, as many as they repeat."""
    every = made.frame.heads
    if space.heads is None:  # an input with heads of its own: one for all, as far as is known here
        return 1
    heads = every if space.heads is Side.Q else made.frame.kv_heads
    repeat = every // heads
    if start % repeat or stop % repeat:
        return stop - start
    return max((stop - start) // repeat, 1)


def bind_step(
    pattern: PatternIR,
    sizes: Sizes,
    *,
    heads: int = 1,
    kv_heads: int | None = None,
    head_dim: int = 64,
    q_offset: int = 0,
) -> Problem:
    """One step at the lengths and heads of its program. Raises PatternError (AL404-AL411).

    Its own lengths may be given in place of the program's (``b`` of pooled keys): then it is bound
    as if it stood alone.
    """
    outer = pattern.outer
    assert outer is not None
    mine = {*pattern.q_axes, *pattern.k_axes} - {*outer.q_axes, *outer.k_axes}
    if any(name.rpartition(".")[2] in mine for name in sizes):
        return bind(
            pattern, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
        )
    made = bind_program(
        outer, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
    )
    name = pattern.name.partition(".")[2]
    step = next(s for s in bound_steps(made) if s.name == name)
    if step.problem is None:
        short = "no head" if not step.heads else "no token"
        raise failure("AL406", None, what=f"the size of `{pattern.name}`", value=f"0: {short}")
    return step.problem


def rebind(problem: Problem, sizes: Sizes, head_dim: int) -> Problem:
    """The same pattern at other lengths; a step of a program at other lengths of the program."""
    whole = whole_of(problem)
    pattern = problem.pattern
    if problem.outer is not None:
        pattern = replace(pattern, outer=whole.pattern)
    return problem_of(pattern, sizes, heads=whole.heads, kv_heads=whole.kv_heads, head_dim=head_dim)


def whole_of(problem: Problem) -> Problem:
    """The problem whose lengths a user gives: its own, or its program's."""
    return problem if problem.outer is None else problem.outer.frame


def problem_of(
    pattern: PatternIR,
    sizes: Sizes,
    *,
    heads: int = 1,
    kv_heads: int | None = None,
    head_dim: int = 64,
    q_offset: int = 0,
) -> Problem:
    """The problem of any pattern; of a program, its own tokens. Raises PatternError as they do."""
    if pattern.program is not None:
        made = bind_program(
            pattern, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
        )
        for _ in bound_steps(made):  # what one of them refuses is refused here
            pass
        return made.frame
    bound = bind if pattern.outer is None else bind_step
    return bound(
        pattern, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
    )
