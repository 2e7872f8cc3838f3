"""Enumerations: their values are known when a pattern is read, so comparisons are decided then."""

from __future__ import annotations

from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.sema.scope import ChoiceName, Context
from attnlang.compiler.syntax import tree as t


def compare_choice(node: t.Compare, ctx: Context) -> Expr | None:
    choices: tuple[str, ...] = ()
    for operand in node.operands:
        binding = ctx.names.get(operand.id) if isinstance(operand, t.Name) else None
        if isinstance(binding, ChoiceName):
            choices = binding.choices
    if len(node.ops) != 1 or node.ops[0] not in ("==", "!="):
        ctx.error(
            "AL206",
            node.span,
            name=" | ".join(choices),
            help="choices are compared with `==` or `!=`",
        )
        return None
    found: list[str] = []
    for operand in node.operands:
        chosen = choice(operand, choices, ctx)
        if chosen is None:
            return None
        found.append(chosen)
    return e.Bool((found[0] == found[1]) is (node.ops[0] == "=="), span=node.span)


def choice(node: t.Expression, choices: tuple[str, ...], ctx: Context) -> str | None:
    """The choice an expression names, out of an enumeration's ``choices``."""
    if isinstance(node, t.Name):
        binding = ctx.names.get(node.id)
        if isinstance(binding, ChoiceName) and node.id not in choices:
            return binding.choice
        if node.id in choices:
            return binding.choice if isinstance(binding, ChoiceName) else node.id
        ctx.error(
            "AL206",
            node.span,
            name=node.id,
            help=did_you_mean(node.id, choices) or "one of: " + ", ".join(choices),
        )
        return None
    ctx.error("AL206", node.span, name=node.span.text, help="one of: " + ", ".join(choices))
    return None
