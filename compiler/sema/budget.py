"""Bounds on what functions and lets may grow to once they are put in place."""

from __future__ import annotations

from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.traverse import children
from attnlang.compiler.sema.scope import Context
from attnlang.compiler.source import Span
from attnlang.compiler.syntax.limits import MAX_DEPTH, MAX_NODES


def measure(root: Expr) -> tuple[int, int]:
    """Size as a tree (shared parts count each time) and depth, without recursion."""
    done: dict[int, tuple[int, int]] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        below = children(node)
        if ready:
            sizes = [done[id(c)] for c in below]
            done[id(node)] = (
                1 + sum(s for s, _ in sizes),
                1 + max((d for _, d in sizes), default=0),
            )
        else:
            stack.append((node, True))
            stack.extend((c, False) for c in below)
    return done[id(root)]


def within_budget(value: Expr, span: Span, ctx: Context) -> bool:
    """Report AL007 and answer False when an expression has grown too large or too deep."""
    size, depth = measure(value)
    ctx.spend(span, size)
    if size <= MAX_NODES and depth <= MAX_DEPTH:
        return True
    help = "functions and lets are put in place at each use: use large ones once"
    label = f"{size} parts, {depth} deep"
    ctx.error("AL007", span, label, limit=MAX_NODES, depth=MAX_DEPTH, help=help)
    return False
