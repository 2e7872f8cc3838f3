"""Whatever the text, only diagnostics come out of the front end, and soon."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attnlang.compiler.diagnostics.catalogue import CATALOGUE
from attnlang.compiler.diagnostics.formats import to_json, to_sarif
from attnlang.compiler.diagnostics.model import Diagnostic, PatternError
from attnlang.compiler.diagnostics.render import render
from attnlang.compiler.source import Source
from attnlang.compiler.syntax.parse import parse
from attnlang.compiler.syntax.printer import format_module
from tests.diagnostics.finding import findings

STDLIB = Path(__file__).parents[2] / "stdlib"
VALID = [p.read_text(encoding="utf-8") for p in sorted(STDLIB.rglob("*.attn"))]
VALID += [e.right for e in CATALOGUE.values() if e.right]
TOKEN = re.compile(r'"""|"|#[^\n]*|\n *|[A-Za-z_]\w*|\d+(?:\.\d+)?|[<>=!/*]{1,2}|\s|.')
SPARE = ["(", ")", "[", "]", ":", ",", "\n", "    ", "\n    ", "\t", "#", '"', "\\\n", "=", "-"]
SPARE += ["if", "else", "not", "in", "q", "k", "n", "len", "def", "pattern", "heads", "attend"]
SPARE += ["where", "0", "1.5", "9" * 12, "q.n", "min", "\x00", "é", "\r", "\u2028", "|", ".", "s"]


def survive(data: bytes) -> tuple[Diagnostic, ...]:
    """The findings of any bytes, after all their forms were made."""
    found = findings("fuzz.attn", data)
    for d in found:
        for label in ((d.primary,) if d.primary else ()) + d.secondary:
            assert 0 <= label.span.start <= label.span.end <= len(label.span.source.text) + 1
    shown = render(found)
    assert all(ch == "\n" or ch == "\t" or ch.isprintable() for ch in shown)
    json.dumps(to_json(found))
    json.dumps(to_sarif(found))
    return found


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbfpattern p:\n    over n\n\xff")
@example(b"\xff\xfe\x00")
def test_bytes(data: bytes) -> None:
    survive(data)


@settings(deadline=None)
@given(st.text(max_size=200))
@example("\\")
@example('"\\\n"')
@example('"""\\')
@example("pattern p:\n    over n\n    attend where 1__0 > 1_\n")
@example("pattern p:\n    over n\n    attend where ٣ > 1\n")
@example('pattern p:\n    paper "x" year "' + "9" * 5000 + '"\n    over n\n    attend where true\n')
@example('pattern p:\n    paper "x" year "²"\n    over n\n    attend where true\n')
def test_texts(text: str) -> None:
    survive(text.encode("utf-8", "surrogatepass"))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid file with a few tokens deleted, doubled, swapped or put in."""
    tokens = TOKEN.findall(draw(st.sampled_from(VALID)))
    spare = st.sampled_from(SPARE) | st.sampled_from(tokens)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(tokens) - 1))
        match draw(st.sampled_from(["delete", "double", "swap", "insert", "replace"])):
            case "delete":
                del tokens[at]
            case "double":
                tokens.insert(at, tokens[at])
            case "swap":
                other = draw(st.integers(0, len(tokens) - 1))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case "insert":
                tokens.insert(at, draw(spare))
            case _:
                tokens[at] = draw(spare)
        if not tokens:
            break
    return "".join(tokens)


@settings(deadline=None, max_examples=300)
@given(mutated())
def test_mutations(text: str) -> None:
    survive(text.encode("utf-8", "surrogatepass"))
    try:
        module = parse(Source("fuzz.attn", text))
    except PatternError:
        return
    printed = format_module(module)
    again = parse(Source("fuzz.attn", printed))
    assert repr(again) == repr(module)
    assert format_module(again) == printed


def pattern(body: str) -> str:
    return f"pattern p:\n    over n\n{body}"


def attend(where: str, before: str = "") -> str:
    return before + pattern(f"    attend where {where}\n")


def chain(first: str, step: str, count: int) -> str:
    """``let a0 = first``, ``let a1 = step`` of a0 (written ``@``), and so on."""
    lets = "".join(f"    let a{i} = {step.replace('@', f'a{i - 1}')}\n" for i in range(1, count))
    return (
        f"pattern p:\n    over n\n    let a0 = {first}\n{lets}    attend where a{count - 1} > 0\n"
    )


def tower(body: str, count: int, use: str = "f{} (q.n) > 0") -> str:
    """Functions, each calling the one before where ``body`` says ``@``."""
    functions = ["def f0(x: int) -> int:\n    return x\n"]
    for i in range(1, count):
        functions.append(f"def f{i}(x: int) -> int:\n    return {body.replace('@', f'f{i - 1}')}\n")
    return attend(use.format(count - 1), "".join(functions))


HOSTILE = {
    "a million brackets": ("(" * 1_000_000, {"AL004"}),
    "many brackets": (attend("(" * 200_000), {"AL005"}),
    "closed brackets": (attend("(" * 60_000 + "1" + ")" * 60_000), {"AL005"}),
    "not": (attend("not " * 10_000 + "true"), {"AL005"}),
    "minus": (attend("-" * 20_000 + "1 > 0"), {"AL005"}),
    "sum": (attend("+".join("1" * 20_000) + " > 0"), {"AL005"}),
    "or": (attend(" or ".join(["q.n == k.n"] * 5_000)), set()),
    "or of many": (attend(" or ".join(f"q.n == {i}" for i in range(9_000))), {"AL007"}),
    "comparisons": (attend("<".join(["q.n"] * 10_000)), set()),
    "attributes": (attend("q" + ".n" * 20_000), {"AL005"}),
    "conditionals": (attend("true if true else " * 5_000 + "true"), {"AL005"}),
    "alike conditions": (attend("(q.n > 1 if " * 40 + "true" + " else k.n > 1)" * 40), {"AL007"}),
    "distinct conditions": (
        attend("(k.n > 2 if " * 50 + "q.n > 0" + "".join(f" else q.n > {i})" for i in range(50))),
        {"AL007"},
    ),
    "subscripts": (attend("t[" * 55 + "0" + "]" * 55), {"AL101"}),
    "arguments": (attend("max(" + ",".join("1" * 20_000) + ") > 0"), {"AL104"}),
    "lets": (chain("1", "2", 4_000), {"AL501"}),
    "a chain of lets": (chain("q.n", "@ + 1", 4_000), {"AL007"}),
    "doubling": (chain("q.n", "@ + @", 100), {"AL007"}),
    "doubling logic": (chain("1", "(@ if q.n > @ else k.n + @)", 60), {"AL007"}),
    "squaring": (chain("99999", "@ * @", 100), {"AL007"}),
    "powers": (chain("pow2(62)", "@ * @ * @ * @", 30), {"AL007"}),
    "floats": (chain("1e300", "@ * @", 100), set()),
    "functions that double": (tower("@(x) + @(x)", 40), {"AL007", "AL005"}),
    "functions of many": (tower("min(" + ",".join(["@(x)"] * 8) + ")", 22), {"AL007"}),
    "deep functions": (tower("1+(" * 50 + "@(x)" + ")" * 50, 22), {"AL007"}),
    "folded functions": (tower("0*(" * 50 + "@(x)" + ")" * 50, 22), {"AL007"}),
    "a tall tower": (tower("@(x)", 60), {"AL005"}),
    "enumeration": (f"pattern p(e: {'|'.join(f'a{i}' for i in range(20_000))}):\n", {"AL016"}),
    "axes": (f"pattern p:\n    over {','.join(f'a{i}' for i in range(20_000))}\n", {"AL304"}),
    "overs": ("pattern p:\n" + "    over n\n" * 10_000, {"AL303"}),
    "patterns": ("pattern p:\n    over n\n    attend where true\n" * 5_000, {"AL102"}),
    "near misses": (
        f"pattern p({','.join(f'window{i}: int' for i in range(3_000))}):\n    over n\n"
        f"    attend where {' or '.join(f'windaw{i} > 0' for i in range(3_000))}\n",
        {"AL101"},
    ),
    "prefixes": (
        pattern(
            "".join(f"    prefix a{i}: 1\n" for i in range(200))
            + f"    attend where {' or '.join(f'q in a{i} or k in a{i}' for i in range(200))}\n"
        ),
        {"AL007"},
    ),
    "deep groups": (
        pattern(
            "".join(" " * (i + 4) + "heads[:]:\n" for i in range(300)) + " " * 304 + "over n\n"
        ),
        {"AL005"},
    ),
    "options": (attend("true" + " score s + 1" * 5_000), {"AL007"}),
    "comments": ("# c\n" * 60_000 + attend("true"), set()),
    "spaces": (attend(" " * 200_000 + "true"), set()),
    "continuations": (attend("\\\n" * 60_000 + "true"), set()),
    "a long name": (attend("a" * 200_000), {"AL101"}),
    "a long number": (attend("1" * 200_000 + " > 0"), {"AL006"}),
    "a large exponent": (attend("1e" + "1" * 200_000 + " > 0"), {"AL006"}),
    "backslashes": ('"' + "\\" * 200_000, {"AL014"}),
    "quotes": ('"' * 200_000, {"AL010", "AL014"}),
    "a long string": ('"""' + "a\n" * 100_000 + '"""\n', {"AL015"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_refused_soon(name: str) -> None:
    text, codes = HOSTILE[name]
    start = time.process_time()
    found = {d.code for d in survive(text.encode())}
    assert time.process_time() - start < 20
    assert found == codes or (codes and found and found <= codes)


def test_parsing_from_many_threads() -> None:
    printed: list[str] = []

    def work() -> None:
        printed.extend(format_module(parse(Source("t", text))) for text in VALID)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [format_module(parse(Source("t", text))) for text in VALID]
    assert sorted(printed) == sorted(expected * 4)
