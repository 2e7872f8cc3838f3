"""Which heads attend the same pairs: they share one plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, SymbolName
from attnlang.compiler.ir.remember import remembered
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.ir.values import read_entries
from attnlang.compiler.problem.problem import Problem


@remembered
def reads_head(root: Expr) -> bool:
    names = (SymbolName.HEAD, SymbolName.KV_HEAD)
    return any(isinstance(x, e.Symbol) and x.name in names for x in walk(root))


def at_head(root: Expr, head: int, problem: Problem) -> Expr:
    """The expression for one head: head and kv_head are numbers, constant tables are read."""
    if not reads_head(root):
        return root
    group = problem.heads // problem.kv_heads

    def rule(x: Expr) -> Expr | None:
        match x:
            case e.Symbol(name=SymbolName.HEAD):
                return e.Int(head)
            case e.Symbol(name=SymbolName.KV_HEAD):
                return e.Int(head // group)
            case _:
                return None

    return read_entries(rewrite(root, rule), problem.pattern, problem.heads)


def head_classes(problem: Problem) -> tuple[tuple[Expr, tuple[int, ...]], ...]:
    """Predicates, each with the heads it holds for, in order of first head."""
    classes: dict[Expr, list[int]] = {}
    for group in problem.groups:
        if not reads_head(group.attend.where):
            classes.setdefault(group.attend.where, []).extend(range(group.start, group.stop))
            continue
        for head in range(group.start, group.stop):
            classes.setdefault(at_head(group.attend.where, head, problem), []).append(head)
    return tuple((where, tuple(heads)) for where, heads in classes.items())


def stretches(heads: Iterable[int]) -> list[range]:
    """Ascending heads, those next to each other together."""
    found: list[range] = []
    for head in heads:
        if found and found[-1].stop == head:
            found[-1] = range(found[-1].start, head + 1)
        else:
            found.append(range(head, head + 1))
    return found


def heads_text(heads: Sequence[int]) -> str:
    """``head 3``, ``heads 0-3, 6``"""
    ranges = (f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in stretches(heads))
    return f"head{'s' if len(heads) > 1 else ''} {', '.join(ranges)}"
