"""The emitter: its text means its tree, and no foreign text becomes code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attnlang.backends.triton.source import tree as t
from attnlang.backends.triton.source.printer import comment_safe, function_text, text

OPS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_,
    "|": operator.or_, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

leaves = st.integers(-9, 9).map(t.Literal)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(t.Binary, st.sampled_from(sorted(OPS)), inner, inner),
        st.builds(t.Unary, st.sampled_from(["-", "~"]), inner),
    ),
    max_leaves=12,
)


def value(x: t.X) -> int:
    match x:
        case t.Literal(value=int() as n):
            return n
        case t.Unary(op=op, operand=a):
            return -value(a) if op == "-" else ~value(a)
        case t.Binary(op=op, left=a, right=b):
            return int(OPS[op](value(a), value(b)))
        case _:
            raise AssertionError(x)


@given(trees)
def test_text_means_its_tree(tree: t.X) -> None:
    code = compile(ast.parse(text(tree), mode="eval"), "test", "eval")
    assert eval(code, {"__builtins__": {}}) == value(tree)


@pytest.mark.parametrize("name", ["a b", "1a", "", "a;b", "for", "x\n", "é", "a.b"])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        t.Name(name)


@given(st.text())
@example('"')
@example("\\")
@example("\\N")
@example('"""\nimport os')
def test_no_text_escapes_a_comment_or_a_docstring(words: str) -> None:
    body = (t.Remark(words), t.Let(t.Name("x"), t.Literal(1)))
    source = function_text(t.Function("f", words, (), (), body))
    tree = ast.parse(source)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function, clean=False) is not None
    assert [type(s) for s in function.body] == [ast.Expr, ast.Assign]
    assert "\n" not in comment_safe(words)
