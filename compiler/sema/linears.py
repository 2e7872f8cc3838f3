"""``attend linear``: attention whose state is a sum over the past, with decay.

Its condition is one of a few: all pairs, the past (``k.n <= q.n``), and within equal documents
that lie one behind the other.
"""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.linear import difference
from attnlang.compiler.ir.pattern import Attend, HeadGroup, Normaliser
from attnlang.compiler.ir.program import Recurrence
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.ir.vector import CHANNEL
from attnlang.compiler.sema.attends import attend_clause
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.expressions import typed
from attnlang.compiler.sema.numbers import as_query, closed, with_channel, without
from attnlang.compiler.sema.options import standing
from attnlang.compiler.sema.stage import check_leaves, shifted, step_pattern
from attnlang.compiler.source import Span
from attnlang.compiler.syntax import tree as t

PER_TOKEN = ("decay", "delta")


def recurrence(
    node: t.Attend,
    inner: Draft,
    names: tuple[str, str, str],
    step: str,
    heads: tuple[Expr, Expr] | None,
) -> Recurrence | None:
    """One linear attention. Mistakes are reported (AL315)."""
    found = standing(node.options, inner.ctx)
    if found is None:
        return None
    own = [o for o in found[0] if isinstance(o, t.Option) and o.kind in PER_TOKEN]
    rest = tuple(o for o in node.options if o.kind not in PER_TOKEN)
    attend = attend_clause(t.Attend(node.where, rest, span=node.span), inner)
    if attend is None:
        return None
    said = any(o.kind == "normalise" for o in found[0])
    soft = said and attend.normaliser is Normaliser.SOFTMAX
    if soft:
        own += [o for o in found[0] if isinstance(o, t.Option) and o.kind == "score"]
        attend = replace(attend, score=None)
    shape = _shape(attend.where, inner, node.where.span)
    if shape is None or not _plain(attend, inner):
        return None
    causal, segments = shape
    values: dict[str, Expr] = {}
    left_out = [o for o in found[1] if isinstance(o, t.Option) and o.kind in PER_TOKEN]
    if any(_per_token(o, inner, heads) is None for o in left_out):
        return None
    for option in own:
        if option.kind in values:
            inner.ctx.error("AL303", option.span, "said again", what=f"`{option.kind}`")
            return None
        value = _per_token(option, inner, heads)
        if value is None:
            return None
        values[option.kind] = value
    group = HeadGroup(e.Int(0), e.Symbol(SymbolName.HEADS), attend)
    if heads is not None:
        group = shifted(group, heads[0], dict(inner.values))
    pattern = step_pattern(inner, step, [group], ())
    if pattern is None:
        return None
    start, stop = heads or (None, None)
    own_values = (values.get("decay"), values.get("delta"), values.get("score"))
    made = Recurrence(*names, pattern, causal, segments, *own_values, start, stop)
    why = _undefined(made, attend, soft)
    if why is not None:
        inner.ctx.error("AL315", node.span, why=why)
        return None
    return made


def _undefined(made: Recurrence, attend: Attend, soft: bool) -> str | None:
    """What has no meaning together, if anything."""
    others = (made.decay, made.delta, attend.scale)
    if soft and (made.logit is None or not made.causal or any(x is not None for x in others)):
        return (
            "`normalise softmax` is over the past, of a `score` that is a number of each key: "
            "without decay, delta and scale"
        )
    plain = attend.score is None or attend.score == e.Symbol(SymbolName.SCORE)
    parts = [] if made.decay is None else list(walk(made.decay))
    by_token = any(isinstance(x, e.Coord | e.Index | e.TokenInput) for x in parts)
    by_channel = e.Coord(Side.K, CHANNEL) in parts
    if not made.causal and (made.delta is not None or by_token):
        return "without `k.n <= q.n` it has no delta rule, and its decay is the same for all tokens"
    if made.delta is not None and (not plain or attend.normaliser is Normaliser.SUM):
        return "the delta rule goes with plain scores that nothing divides"
    if by_channel and not plain:
        return "a decay that varies with the channel goes with plain scores"
    return None


def _shape(where: Expr, inner: Draft, span: Span) -> tuple[bool, str | None] | None:
    """Is it causal, and which input tells documents apart? None (AL315) for other conditions."""
    where = closed(where, inner)
    parts = where.operands if isinstance(where, e.And) else (where,)
    causal, segments = False, None
    for part in parts:
        match part:
            case e.Bool(value=True):
                pass
            case e.Compare(
                op="==", left=e.TokenInput(name=a, side=x), right=e.TokenInput(name=b, side=y)
            ) if a == b and x != y and segments in (None, a):
                segments = a
            case e.Compare() if _is_past(part, inner):
                causal = True
            case _:
                inner.ctx.error(
                    "AL315",
                    span,
                    "not a prefix of the sequence",
                    why="its condition is `true` or `k.n <= q.n`, and `q.doc == k.doc` beside it",
                    help="for other conditions leave `linear` out, or let the state `decay`",
                )
                return None
    if segments is not None:
        decl = inner.table(segments)
        if not decl.sorted or "head" in decl.dims:
            why = f"documents lie one behind the other in all heads: `{segments}` is `sorted`"
            inner.ctx.error("AL315", span, why=why)
            return None
    return causal, segments


def _is_past(part: e.Compare, inner: Draft) -> bool:
    """``k <= q`` on the only axis, or on the index, however it is written."""
    flipped = part.op in (">=", ">")
    left, right = (part.right, part.left) if flipped else (part.left, part.right)
    if part.op not in ("<=", ">=", "<", ">"):
        return False
    found = difference(left, right)
    slack = 0 if part.op in ("<=", ">=") else -1
    axes = inner.axes[Side.Q]
    pairs: list[tuple[Expr, Expr]] = [(e.Index(Side.Q), e.Index(Side.K))]
    if len(axes) == 1:
        pairs.append((e.Coord(Side.Q, axes[0]), e.Coord(Side.K, axes[0])))
    return any(set(found.terms) == {(k, 1), (q, -1)} and found.constant == slack for q, k in pairs)


def _plain(attend: Attend, inner: Draft) -> bool:
    """Scores are polynomials of s, weights are not normalised or divided by their sum."""
    why = None
    if attend.sink is not None or attend.empty is not None:
        why = "it has no sink and no rule for empty rows: those give 0"
    elif attend.normaliser not in (Normaliser.SUM, Normaliser.NONE, Normaliser.SOFTMAX):
        why = "its weights are not normalised, or by their `sum`"
    elif attend.score is not None and _degree(attend.score) is None:
        why = "its score is a polynomial of s of degree 2 at most, such as `1.0 + s + s * s / 2.0`"
    if why is not None:
        inner.ctx.error("AL315", attend.span, why=why)
    return why is None


def _degree(x: Expr) -> int | None:
    """The degree of a polynomial in the score with constant coefficients; None for others."""
    match x:
        case e.Symbol(name=SymbolName.SCORE):
            return 1
        case e.Arith(op="+" | "-", left=a, right=b):
            one, two = _degree(a), _degree(b)
            return None if one is None or two is None else max(one, two)
        case e.Arith(op="*", left=a, right=b):
            one, two = _degree(a), _degree(b)
            return None if one is None or two is None or one + two > 2 else one + two
        case e.Arith(op="/", left=a, right=b):
            one, two = _degree(a), _degree(b)
            return one if two == 0 else None
        case e.Neg(operand=a):
            return _degree(a)
        case _:
            fixed = (e.Int, e.Float, e.Param, e.Apply, e.Length)
            counts = (SymbolName.HEADS, SymbolName.KV_HEADS, SymbolName.HEAD_DIM)
            constant = all(
                isinstance(n, fixed)
                or (isinstance(n, e.Symbol) and n.name in counts)
                or isinstance(n, e.Arith | e.Neg)
                for n in walk(x)
            )
            return 0 if constant else None


def _per_token(node: t.Option, inner: Draft, heads: tuple[Expr, Expr] | None) -> Expr | None:
    """A decay, a delta or a softmax's score: of the key's token, head and channel.

    The token is the query of the expression that is made, the channel its key.
    """
    channel = e.Coord(Side.K, CHANNEL)
    score = e.Symbol(SymbolName.SCORE, span=node.span)
    ctx = replace(with_channel(inner.ctx), score=score)
    value = typed(node.value, ctx, (Kind.FLOAT,), f"`{node.kind}`")
    if value is None or not check_leaves(without(value, channel), inner, node.span):
        return None
    for x in walk(value):
        q_side = isinstance(x, e.Coord | e.Index | e.TokenInput) and x.side is Side.Q
        if q_side or x == e.Symbol(SymbolName.SCORE):
            why = f"`{node.kind}` is a number of each key: it reads `k.`, the head and `channel`"
            ctx.error("AL315", x.span, why=why)
            return None
    if node.kind != "decay" and any(x == channel for x in walk(value)):
        why = f"`{node.kind}` has one value for all channels of a token"
        ctx.error("AL315", node.span, why=why)
        return None
    if heads is not None:
        group = HeadGroup(e.Int(0), heads[1], Attend(e.TRUE, score=value))
        value = shifted(group, heads[0], dict(inner.values)).attend.score
        assert value is not None
    return replace(as_query(value), span=node.value.span)
