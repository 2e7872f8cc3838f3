"""What each clause may depend on: a requirement not on tokens, a scale not on keys, and so on."""

from __future__ import annotations

from enum import Flag, auto

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.sema.scope import Context


class Level(Flag):
    """What an expression varies with."""

    LENGTHS = auto()
    HEADS = auto()
    HEAD = auto()
    QUERY = auto()
    KEY = auto()
    RUNTIME = auto()
    SCORE = auto()


_ALL = Level.LENGTHS | Level.HEADS | Level.HEAD | Level.QUERY | Level.KEY | Level.RUNTIME
ALLOWED: dict[str, Level] = {
    "where": _ALL,
    "score": _ALL | Level.SCORE,
    "sink": _ALL & ~Level.KEY,
    "gain": _ALL,
    "scale": _ALL & ~(Level.KEY | Level.QUERY),
    "softcap": _ALL & ~(Level.KEY | Level.QUERY),
    "require": Level.LENGTHS | Level.HEADS,
    "a group of heads": Level.HEADS,
    "a size": Level.LENGTHS | Level.HEADS,
    "a dimension": Level.LENGTHS | Level.HEADS,
    "a default": Level(0),
}
_WORDS = {
    Level.LENGTHS: "a length",
    Level.HEADS: "the number of heads",
    Level.HEAD: "the head",
    Level.QUERY: "the query token",
    Level.KEY: "the key token",
    Level.RUNTIME: "a run-time tensor",
    Level.SCORE: "the score",
}


def level_of(leaf: Expr, inputs: frozenset[str]) -> Level:
    """What one node itself varies with (not its children)."""
    match leaf:
        case e.Length():
            return Level.LENGTHS
        case e.Symbol(name=SymbolName.SCORE) | e.Apply(function="row_max"):
            return Level.SCORE
        case e.Symbol(name=SymbolName.HEAD | SymbolName.KV_HEAD):
            return Level.HEAD
        case e.Symbol():
            return Level.HEADS
        case e.Coord(side=side) | e.Index(side=side) | e.InSegment(side=side):
            return Level.QUERY if side is Side.Q else Level.KEY
        case e.TokenInput(side=side):
            return Level.RUNTIME | (Level.QUERY if side is Side.Q else Level.KEY)
        case e.Table(name=name) if name in inputs:
            return Level.RUNTIME
        case _:
            return Level(0)


def varies_with(root: Expr, inputs: frozenset[str] = frozenset()) -> Level:
    """Everything an expression varies with."""
    found = Level(0)
    for node in walk(root):
        found |= level_of(node, inputs)
    return found


def check_level(root: Expr, clause: str, inputs: frozenset[str], ctx: Context) -> bool:
    """Report AL207 for each part of ``root`` that ``clause`` may not depend on."""
    allowed, good = ALLOWED[clause], True
    for node in walk(root):
        excess = level_of(node, inputs) & ~allowed
        if excess:
            word = next(text for level, text in _WORDS.items() if level & excess)
            shown = clause if " " in clause else f"`{clause}`"
            ctx.error("AL207", node.span, f"varies with {word}", clause=shown, word=word)
            good = False
    return good
