"""Options that stand only with some choices."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.check import open_module, select
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.syntax import tree
from tests.program.library import programs
from tests.program.test_programs import qkv

SELECTION = """pattern p(by: count | share = count, scope: query | head = query):
    over n
    select r[head, n, n] from q, k where causal(n)
        top 3 when by == count
        normalise softmax when by == share
        mass 0.5 when by == share and scope == query
        mass 0.5 per head when by == share and scope == head
        force k.n == q.n when by == count
        share max when by == share
    attend where r[head, q.n, k.n] empty zero
"""
ATTENTION = """pattern p(kind: capped | sunk | decayed = capped):
    over n
    input g: float[head]
    made = attend where causal(n)
        softcap 2.0 when kind == capped
        score s - 1.0
        sink g[head] when kind == sunk
        normalise sum when kind == decayed
    summed = attend linear where causal(n)
        decay -0.5 when kind == decayed
        scale 2.0 when kind != decayed
    return made + summed
"""


@pytest.mark.parametrize(
    ("choices", "lines"),
    [
        ({}, "top 3\n        force k.n == q.n"),
        ({"by": "share"}, "normalise softmax\n        mass 0.5\n        share max"),
        (
            {"by": "share", "scope": "head"},
            "normalise softmax\n        mass 0.5 per head\n        share max",
        ),
    ],
)
def test_a_selection_is_the_one_of_its_choices(choices: dict[str, str], lines: str) -> None:
    plain = (
        "pattern p:\n    over n\n    select r[head, n, n] from q, k where causal(n)\n"
        f"        {lines}\n    attend where r[head, q.n, k.n] empty zero\n"
    )
    q, k, v = (x.detach() for x in qkv(9, 9))
    one, two = (
        x.compile("reference")
        for x in (attnlang.parse(SELECTION, **choices), attnlang.parse(plain))
    )
    assert torch.equal(one.select(q, k, v)["r"], two.select(q, k, v)["r"])
    torch.testing.assert_close(one(q, k, v), two(q, k, v))


@pytest.mark.parametrize(
    ("kind", "soft", "linear"),
    [
        ("capped", "softcap 2.0\n        score s - 1.0", "scale 2.0"),
        ("sunk", "score s - 1.0\n        sink g[head]", "scale 2.0"),
        ("decayed", "score s - 1.0\n        normalise sum", "decay -0.5"),
    ],
)
@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_an_attention_is_the_one_of_its_choices(
    kind: str, soft: str, linear: str, backend: str
) -> None:
    plain = (
        "pattern p:\n    over n\n    input g: float[head]\n    made = attend where causal(n)\n"
        f"        {soft}\n    summed = attend linear where causal(n)\n        {linear}\n"
        "    return made + summed\n"
    )
    q, k, v = (x.detach() for x in qkv(9, 9))
    g = torch.randn(4, dtype=torch.float64)
    one, two = (
        x.compile(backend) for x in (attnlang.parse(ATTENTION, kind=kind), attnlang.parse(plain))
    )
    torch.testing.assert_close(one(q, k, v, g=g), two(q, k, v, g=g))


@pytest.mark.parametrize(
    ("text", "wrong", "said"),
    [
        (SELECTION, ("by == count", "q.n > 2"), "AL206"),
        (SELECTION, ("top 3", "top x"), "`x` is not defined"),
        (SELECTION, ("mass 0.5 per head", "mass 0.5 per heads"), "not a dimension|`heads`"),
        (SELECTION, ("k.n == q.n when", "k.m == q.n when"), "`k.m`"),
        (SELECTION, ("by == share and scope == query", "by == count"), "2 rules"),
        (ATTENTION, ("g[head]", "h[head]"), "`h` is not defined"),
        (ATTENTION, ("normalise sum", "normalise some"), "`some` is not one of the choices"),
        (ATTENTION, ("decay -0.5", "decay q.n"), "number of each key|AL315"),
    ],
)
def test_options_left_out_are_read_too(text: str, wrong: tuple[str, str], said: str) -> None:
    with pytest.raises(PatternError, match=said):
        attnlang.parse(text.replace(wrong[0], wrong[1], 1))


def test_what_choices_leave_unread_may_be_left_out() -> None:
    """Tables, numbers of tokens and tensors alike."""
    text = (
        "pattern p(kind: plain | moved = plain):\n    over n\n    part c = range(2)\n"
        "    input g: float[head]\n    input doc: int[batch, n]\n"
        "    input mk: float[head, c, head_dim]\n"
        "    near = attend where causal(n)\n"
        "    other = attend q, mk, mk where q.doc >= 0 empty zero\n        score s + g[head]\n"
        "    return near if kind == plain else near + other\n"
    )
    q, k, v = (x.detach() for x in qkv(7, 7))
    found = attnlang.parse(text).compile("blocked")(q, k, v)
    plain = attnlang.compile("stdlib:causal", backend="reference")
    torch.testing.assert_close(found, plain(q, k, v))
    with pytest.raises(PatternError, match="needs the input"):
        attnlang.parse(text, kind="moved").compile("blocked")(q, k, v)


@pytest.mark.parametrize("name", programs())
def test_what_is_read_must_be_given(name: str) -> None:
    """Tables of products and projections, too: only what the program does not mention is optional."""
    declared = select(open_module(attnlang.stdlib.source(name)), name)
    flags = {s.name.id: {f.id for f in s.flags} for s in declared.body if isinstance(s, tree.Input)}
    ir = attnlang.load(f"stdlib:{name}").ir
    assert ir.program is not None
    mentioned = repr((ir.program.steps, ir.program.result))
    for decl in ir.inputs:
        if "optional" not in flags[decl.name]:
            assert decl.optional == (f"'{decl.name}'" not in mentioned)
