"""The printer: what it prints reads back as the same tree, and prints the same again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.parse import parse
from attnlang.compiler.syntax.printer import format_expression, format_module
from tests.syntax import trees

STDLIB = Path(__file__).parents[2] / "stdlib"
slow = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def read(text: str) -> t.Module:
    return parse(Source("<printed>", text))


def check(text: str) -> str:
    """The canonical form of a text, after every property of the printer was checked on it."""
    module = read(text)
    printed = format_module(module)
    again = read(printed)
    assert repr(again) == repr(module)  # equality alone takes 1 for 1.0
    assert sorted(c.text for c in again.comments) == sorted(c.text for c in module.comments)
    assert format_module(again) == printed
    return printed


@slow
@given(trees.expressions)
def test_an_expression_reads_back(expression: t.Expression) -> None:
    text = format_expression(expression)
    assert "\n" not in text
    (pattern,) = read(f"pattern p:\n    let x = {text}\n").patterns
    (let,) = pattern.body
    assert isinstance(let, t.Let)
    assert repr(let.value) == repr(expression)


@slow
@given(trees.modules)
def test_a_module_reads_back(module: t.Module) -> None:
    printed = format_module(module)
    assert repr(read(printed)) == repr(module)
    assert check(printed) == printed
    assert not re.search(r"[ \t]$|\n\n\n|\A\n|\n\n\Z", printed, re.MULTILINE) or '"""' in printed


@slow
@given(trees.modules, st.randoms(use_true_random=False))
def test_comments_survive_wherever_they_stand(module: t.Module, random: st.random.Random) -> None:
    check(with_comments(format_module(module), random))


def with_comments(text: str, random: st.random.Random) -> str:
    """The text with lines broken inside brackets, blank lines, and comments of both kinds."""
    broken = []
    for line in text.split("\n"):
        if '"' not in line and "#" not in line:
            line = re.sub(
                r"[(\[]", lambda m: m[0] + random.choice(["", "", "\n", "\n      "]), line
            )
        broken.append(line)
    made: list[str] = []
    inside_string = False
    for number, line in enumerate("\n".join(broken).split("\n")):
        if not inside_string:
            for kind in range(random.choice([0, 0, 0, 1, 2])):
                indent = " " * random.choice([0, 2, 4, 8, 12])
                made.append(random.choice([f"{indent}# own {number}.{kind}", ""]))
        quotes = line.replace('\\"', "").count('"""')
        inside_string ^= quotes % 2 == 1
        if not inside_string and quotes == 0 and line.strip() and random.random() < 0.3:
            line += random.choice([" ", "  ", "\t"]) + f"# end {number}"
        made.append(line)
    return "\n".join(made)


@pytest.mark.parametrize("path", sorted(STDLIB.rglob("*.attn")), ids=lambda p: p.stem)
def test_the_standard_library_is_stable(path: Path) -> None:
    check(path.read_text(encoding="utf-8"))


PREFERRED = '''
"""Two patterns."""

# A heading ------------------------------

def slope(h: int) -> float:
    return exp2(-0.5 * (h + 1))

# stands with `p`
pattern p(
    window: int = 8,  # keys, the query included
    sinks: int = 4,
):
    """The first.

    Items:
      - keep their indentation
    """
    over n

    # a remark
    attend where k.n <= q.n and (q.n - k.n < window or k.n < sinks)  # sliding
        score s + slope(head)
        empty zero
    # attend where true

pattern r:
    over q: y, x
    over k: n
    input mask: bool[batch, n] sorted optional
    require len(n) > 1, "at least \\"two\\" keys"
    heads[: heads // 2]:
        attend where k.mask empty zero
    heads[heads // 2 :]:
        attend where not k.mask empty zero
'''.lstrip()


def test_canonical_text_stays_as_it_is() -> None:
    assert check(PREFERRED) == PREFERRED


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("((q.n))", "q.n"),
        ("(a*b)+c", "a * b + c"),
        ("a*(b+c)", "a * (b + c)"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a-b)-c", "a - b - c"),
        ("a//(b%c)", "a // (b % c)"),
        ("-(a+b)", "-(a + b)"),
        ("- - a", "--a"),
        ("+a", "a"),
        ("(-3)*a", "-3 * a"),
        ("not (a and b)", "not (a and b)"),
        ("(not a) and b", "not a and b"),
        ("(a and b) or c", "a and b or c"),
        ("a and (b or c)", "a and (b or c)"),
        ("a and (b and c)", "a and (b and c)"),
        ("(a<b)==c", "(a < b) == c"),
        ("a<b<=c", "a < b <= c"),
        ("(q in cls)==(k in cls)", "(q in cls) == (k in cls)"),
        ("a if b else (c if d else e)", "a if b else c if d else e"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        ("1 + (a if b else c)", "1 + (a if b else c)"),
        ("f( x,y = 2, )", "f(x, y=2)"),
        ("t[ head ,0]", "t[head, 0]"),
        ("1_000 + .5 + 1e3", "1000 + 0.5 + 1000.0"),
        ("(1).x", "(1).x"),
        ("(1, 2,)", "(1, 2)"),
    ],
)
def test_expressions_take_the_fewest_parentheses(written: str, canonical: str) -> None:
    assert check(f"pattern p:\n    let x = {written}\n") == f"pattern p:\n    let x = {canonical}\n"


def test_long_lines_break_in_one_way() -> None:
    text = """
pattern p:
    over n
    attend where q.index - k.index < len(n) // 2 and k.index <= q.index or \\
      k.index < 4 and q.index > 4 or q.n == k.n
        score s + choose(q.index - k.index, first=1000000, second=2000000, third=3000000, \\
          fourth=40000000)
"""
    assert (
        check(text)
        == """
pattern p:
    over n
    attend where (
        q.index - k.index < len(n) // 2 and k.index <= q.index
        or k.index < 4 and q.index > 4
        or q.n == k.n
    )
        score (
            s
            + choose(
                q.index - k.index,
                first=1000000,
                second=2000000,
                third=3000000,
                fourth=40000000,
            )
        )
""".lstrip()
    )


def test_blocks_keep_their_last_comments() -> None:
    written = """
pattern p:
  over n
  attend where (true # inside
  ) # end
    # deeper
  # block
# file
"""
    canonical = """
pattern p:
    over n
    # inside
    attend where true  # end
    # deeper
    # block

# file
"""
    assert check(written) == canonical.lstrip()


def test_the_deepest_brackets_still_parse() -> None:
    deep = "a - (" * 64 + "b" + ")" * 64
    check(f"pattern p:\n    let y = {deep}\n")


def test_a_text_of_comments_alone() -> None:
    assert check("# one\n\n\n\n# two") == "# one\n\n# two\n"
    assert check("") == ""
