"""The tree as text, always the same. How Triton spells things is said here alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import assert_never

from attnlang.backends.triton.source import tree as t

_LEVELS = {
    "|": 1, "&": 2, "==": 0, "!=": 0, "<": 0, "<=": 0, ">": 0, ">=": 0,
    "+": 4, "-": 4, "*": 5, "/": 5, "//": 5, "%": 5,
}  # fmt: skip
_UNARY, _ATOM = 6, 9
_WIDTH = 96


def function_text(function: t.Function) -> str:
    fixed = ", ".join(repr(name) for name in function.fixed)
    decorator = f"@triton.jit(do_not_specialize=[{fixed}])" if fixed else "@triton.jit"
    lines = [decorator, f"def {function.name}("]
    lines += _filled(
        [p.name + (": tl.constexpr" if p.constant else "") for p in function.parameters], 4
    )
    lines += ["):", f"    {_docstring(function.doc)}"]
    lines += _statements(function.body, 4)
    return "\n".join(lines) + "\n"


def comment_safe(text: str) -> str:
    """One line with nothing in it but printable characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _docstring(words: str) -> str:
    escaped = comment_safe(words).replace("\\", "\\\\").replace('"', '\\"')
    return f'"""{escaped}"""'


def _filled(items: list[str], indent: int) -> Iterator[str]:
    line = ""
    for item in items:
        if line and indent + len(line) + len(item) + 2 > _WIDTH:
            yield " " * indent + line.rstrip()
            line = ""
        line += item + ", "
    if line:
        yield " " * indent + line.rstrip()


def _statements(body: Iterable[t.Statement], indent: int) -> Iterator[str]:
    pad = " " * indent
    for statement in body:
        match statement:
            case t.Let(name=name, value=value):
                yield f"{pad}{name.text} = {text(value)}"
            case t.Update(name=name, op=op, value=value):
                yield f"{pad}{name.text} {op}= {text(value)}"
            case t.Evaluate(value=value):
                yield f"{pad}{text(value)}"
            case t.Remark(text=remark):
                yield f"{pad}# {comment_safe(remark)}"
            case t.Loop(name=name, over=over, body=inner):
                yield f"{pad}for {name.text} in {text(over)}:"
                yield from _statements(inner, indent + 4)
            case t.While(condition=condition, body=inner):
                yield f"{pad}while {text(condition)}:"
                yield from _statements(inner, indent + 4)
            case t.When(condition=condition, body=inner):
                yield f"{pad}if {text(condition)}:"
                yield from _statements(inner, indent + 4)
            case _:
                assert_never(statement)


def text(x: t.X) -> str:
    return _text(x)[0]


def _text(x: t.X) -> tuple[str, int]:
    """An expression and how tightly it binds."""
    match x:
        case t.Name(text=name):
            return name, _ATOM
        case t.Literal(value=value):
            return _literal(value)
        case t.Operation(name=name):
            return f"tl.{name}", _ATOM
        case t.Attribute(of=of, name=name):
            return f"{_at(of, _ATOM)}.{name}", _ATOM
        case t.Call(function=function, arguments=arguments, keywords=keywords):
            given = [text(a) for a in arguments] + [f"{n}={text(a)}" for n, a in keywords]
            return f"{_at(function, _ATOM)}({', '.join(given)})", _ATOM
        case t.Item(of=of, indices=indices):
            inner = ", ".join("None" if i is None else ":" for i in indices)
            return f"{_at(of, _ATOM)}[{inner}]", _ATOM
        case t.Listed(items=items):
            return f"[{', '.join(text(i) for i in items)}]", _ATOM
        case t.Unary(op=op, operand=operand):
            return f"{op}{_at(operand, _UNARY)}", _UNARY
        case t.Binary(op=op, left=left, right=right):
            level = _LEVELS[op]
            # `a < b < c` would chain, and the right of `-` groups: both get brackets.
            low = level if level else 1
            return f"{_at(left, low)} {op} {_at(right, low + 1 if level else 1)}", level
        case _:
            raise AssertionError(f"no text for {x}")


def _literal(value: int | float | bool | str | None) -> tuple[str, int]:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")', _ATOM
    shown = repr(value)
    return shown, _UNARY if shown.startswith("-") else _ATOM


def _at(x: t.X, level: int) -> str:
    shown, own = _text(x)
    return shown if own >= level else f"({shown})"
