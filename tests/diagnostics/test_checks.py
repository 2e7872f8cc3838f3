"""What the checker accepts and refuses, where a file of mistakes would not show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnlang.compiler.check import check_module, check_pattern, open_module
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.source import Source
from attnlang.compiler.syntax.limits import MAX_BYTES
from attnlang.compiler.syntax.parse import read_source
from tests.diagnostics.finding import findings


def codes(text: str) -> list[str]:
    return [d.code for d in findings("file.attn", text.encode())]


def condition(text: str) -> str:
    module = open_module(Source("file.attn", text))
    assert {d.code for d in check_module(module)} <= {"AL501"}
    return to_text(check_pattern(module).groups[0].attend.where)


def test_a_file_may_shadow_the_prelude_but_not_change_it() -> None:
    text = """
def group_length(length: int, group: int, dilation: int) -> int:
    return 7

pattern p:
    over n
    attend where {}
"""
    assert condition(text.format("group_length(1, 2, 3) > k.n")) == "7 > k.n"
    near = condition("pattern p:\n    over n\n    attend where near(n, 3)\n")
    assert condition(text.format("near(n, 3)")) == near


def test_functions_see_no_axes_and_segments_of_their_caller() -> None:
    text = """
def f() -> bool:
    return q.n == 0 or q in cls

pattern p:
    over n
    prefix cls: 1
    attend where f()
"""
    assert codes(text) == ["AL106", "AL101"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    input index: int[batch, n]\n    attend where true\n", ["AL108"]),
        ("    input scale: int[n]\n    attend where q.scale == k.scale\n", ["AL108"]),
        ("    prefix grid: 1\n    attend where true\n", ["AL108"]),
        ("    heads[:2]:\n        attend where true\n    attend where true\n", ["AL303"]),
        ("    attend where true\n    heads[:2]:\n        attend where true\n", ["AL303"]),
        ("    attend where q.n[0] == 1\n", ["AL107"]),
        ("    attend where head[0] == 1\n", ["AL107"]),
        ("    attend where causal[0]\n", ["AL107"]),
        ("    attend where len(q) > 1\n", ["AL104"]),
        ("    attend where q is k\n", ["AL010"]),
    ],
)
def test_small_mistakes(body: str, expected: list[str]) -> None:
    assert codes("pattern p:\n    over n\n" + body) == expected


def test_one_mistake_gives_one_message() -> None:
    """What depends on a part with a mistake is not reported as well."""
    assert codes("pattern p:\n    attend where q.n == k.n and len(n) > 3\n") == ["AL301"]
    text = """
pattern p(w: string = 1):
    over n
    input d: int[m]
    let a = b
    prefix c: e
    attend where q.d == k.d and a > w and w[n] > 1 and q in c empty zero
"""
    assert codes(text) == ["AL204", "AL101", "AL101", "AL101"]


def test_a_full_report_stops_the_reading() -> None:
    wrong = " or ".join(f"a{i}" for i in range(80))
    text = f"pattern p:\n    over n\n    attend where {wrong}\n"
    assert len(codes(text + text.replace("pattern p", "pattern r"))) == 50


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large.attn").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, code in (("missing.attn", "AL001"), ("", "AL001"), ("large.attn", "AL004")):
        with pytest.raises(PatternError) as error:
            read_source(tmp_path / name)
        assert [d.code for d in error.value.diagnostics] == [code]


@pytest.mark.parametrize(
    "body",
    [
        "    let a = 3\n    let b = a\n    attend where q.n - k.n < b\n",
        "    input doc: int[n]\n    attend where q.doc == k.doc\n",
        "    input bias: float[head]\n    attend where causal(n)\n        score s + bias[head]\n",
        "    heads[:2]:\n        let a = 3\n        attend where q.n - k.n < a\n"
        "    heads[2:]:\n        attend where causal(n)\n",
        "    part b = blocks(n, 4)\n    pool kb[b] = mean(k)\n    pool vb[b] = mean(v)\n"
        "    attend q, kb, vb where true\n",
    ],
)
def test_what_is_read_is_not_called_unused(body: str) -> None:
    assert codes(f"pattern p:\n    over n\n{body}") == []


def test_copies_of_a_name_are_read_by_number() -> None:
    text = (
        "pattern p(wide_0: int = 4, wide_1: int = 8):\n    over n\n"
        "    for level in range(2):\n        let w = wide@level\n"
        "    attend where q.n - k.n < w@0 + w@1\n"
    )
    assert codes(text) == []


def test_mistakes_are_not_drowned_in_remarks() -> None:
    text = "pattern p(window: int = 8):\n    over n\n    attend where q.n - k.n < windw\n"
    assert codes(text) == ["AL101"]
