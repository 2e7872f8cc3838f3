"""Options that choices decide, such as ``top 4 when by == count``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.sema.expressions import boolean
from attnlang.compiler.sema.scope import Context
from attnlang.compiler.syntax import tree as t

Clause = TypeVar("Clause", bound=t.Option | t.Rule | t.Gather)


def standing(
    options: Sequence[Clause], ctx: Context
) -> tuple[tuple[Clause, ...], tuple[Clause, ...]] | None:
    """The options that stand with the choices made, and those left out; None after a mistake."""
    there = [o.when is None or decided(o.when, ctx, "the condition of `when`") for o in options]
    if None in there:
        return None
    pairs = list(zip(options, there, strict=True))
    return tuple(o for o, holds in pairs if holds), tuple(o for o, holds in pairs if not holds)


def rule_word(node: t.Expression, rules: Sequence[str], ctx: Context) -> str | None:
    """The rule that a clause names. Choices may decide which: ``sum if kind == a else none``."""
    if isinstance(node, t.Conditional):
        first = decided(node.condition, ctx, "the condition of `if`")
        words = [rule_word(x, rules, ctx) for x in (node.then, node.otherwise)]
        if first is None or None in words:
            return None
        return words[0] if first else words[1]
    name = node.id if isinstance(node, t.Name) else node.span.text
    if name in rules:
        return name
    hint = did_you_mean(name, rules) or "one of: " + ", ".join(rules)
    ctx.error("AL206", node.span, name=name, help=hint)
    return None


def decided(node: t.Expression, ctx: Context, what: str) -> bool | None:
    """Whether a condition on choices holds; AL206 for any other."""
    condition = boolean(node, ctx, what)
    if condition is None or isinstance(condition, e.Bool):
        return None if condition is None else condition.value
    hint = "only choices, compared with `==` or `!=`, decide between rules"
    ctx.error("AL206", node.span, name=node.span.text, help=hint)
    return None
