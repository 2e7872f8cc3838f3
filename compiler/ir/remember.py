"""Answers about expressions, kept for the ones asked last.

A pattern's expressions are the same objects in every call. What is found out of one alone, such as
its normal form, is worked out once. Equal expressions of two texts stay apart: their spans differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from attnlang.compiler.ir.expr import Expr

T = TypeVar("T")
MOST = 2048


def remembered(ask: Callable[[Expr], T]) -> Callable[[Expr], T]:
    """A pure function of an expression that knows its last answers, by the object asked about."""
    known: dict[int, tuple[Expr, T]] = {}

    @wraps(ask)
    def answer(x: Expr) -> T:
        found = known.get(id(x))
        if found is None:
            if len(known) >= MOST:
                known.clear()
            # The expression is kept too: no other object can come to have its id.
            found = known[id(x)] = x, ask(x)
        return found[1]

    return answer


_made: dict[int, tuple[Expr, Expr]] = {}


def same_again(source: Expr, made: Expr) -> Expr:
    """What was made of an expression the last time, if it is equal: so that what was found out of
    that is known. Its spans are the same, as both come from one source."""
    if made is source:
        return made
    last = _made.get(id(source))
    if last is not None and last[1] == made:
        return last[1]
    if len(_made) >= MOST:
        _made.clear()
    _made[id(source)] = source, made
    return made
