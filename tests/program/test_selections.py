"""The rules and options of `select` against loops."""

from __future__ import annotations

import itertools

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError
from tests.program.test_programs import parse, qkv

Tensor = torch.Tensor


def ranked(scores: dict[int, float]) -> list[int]:
    """From the best down; of equal ones the first."""
    return sorted(scores, key=lambda j: (-scores[j], j))


def test_a_set_of_keys_alone() -> None:
    """One choice for each head, for each key head, or for all."""
    g = torch.rand(2, 4, 9, dtype=torch.float64)
    q, k, v = qkv(5, 9)
    for dims, groups in (("head, m", 4), ("kv_head, m", 2), ("m", 1)):
        p = parse(
            "    over q: n\n    over k: m\n    input g: float[batch, head, m]\n"
            f"    select r[{dims}] from k where k.m > 0\n        score k.g\n        top 3\n"
            f"    attend where r[{dims.replace('m', 'k.m')}] empty zero\n"
        )
        found = p.compile("reference").select(q, k, v, g=g)["r"]
        assert found.shape == ((2, groups, 9) if groups > 1 else (2, 9))
        shared = g.unflatten(1, (groups, -1)).sum(2)
        for b, h in itertools.product(range(2), range(groups)):
            best = ranked({j: float(shared[b, h, j]) for j in range(1, 9)})[:3]
            row = found[b, h] if groups > 1 else found[b]
            assert row.nonzero()[:, 0].tolist() == sorted(best)


def test_a_set_of_queries_alone_while_decoding() -> None:
    """Its rows are the queries of the call, and so are the ones it chooses from."""
    p = parse(
        "    over n\n    input g: float[batch, n]\n    select r[n] from q where q.n != 12\n"
        "        score q.g\n        top 2\n    attend where r[q.n] and causal(n) empty zero\n"
    )
    q, k, v = qkv(4, 14)
    g = torch.tensor([[0.0] * 10 + [3.0, 1.0, 9.0, 2.0]]).double()
    for backend in ("reference", "blocked"):
        out = p.compile(backend)(q, k, v, q_offset=10, g=(g[:, 10:], g))
        assert [bool(x.any()) for x in out[0, 0]] == [True, False, False, True]


def test_one_tensor_of_any_width() -> None:
    """What is chosen of one tensor alone need not be as wide as queries and keys."""
    p = parse(
        "    over n\n    narrow = slice(k, 0, 1)\n    first = total(narrow)\n"
        "    select r[head, n] from narrow where true\n        score k.first\n        top 2\n"
        "    attend where r[head, k.n] empty zero\n"
    )
    q, k, v = (x.detach() for x in qkv(7, 7))
    found = p.compile("reference").select(q, k, v)["r"]
    for b, h in itertools.product(range(2), range(4)):
        best = ranked({j: float(k[b, h // 2, j, 0]) for j in range(7)})[:2]
        assert found[b, h].nonzero()[:, 0].tolist() == sorted(best)


def test_per_chooses_among_what_it_does_not_name() -> None:
    p = parse(
        "    over n\n    input g: float[batch, head, n]\n    select r[head, n] from k where true\n"
        "        score k.g\n        top 2 per n\n    attend where r[head, k.n] empty zero\n"
    )
    q, k, v = qkv(7, 7)
    g = torch.rand(2, 4, 7, dtype=torch.float64)
    found = p.compile("reference").select(q, k, v, g=g)["r"]
    assert torch.equal(found.sum(1), torch.full((2, 7), 2))
    for b, j in itertools.product(range(2), range(7)):
        best = ranked({h: float(g[b, h, j]) for h in range(4)})[:2]
        assert found[b, :, j].nonzero()[:, 0].tolist() == sorted(best)


@pytest.mark.parametrize("size", ["count", "most"])
def test_as_many_as_an_earlier_set(size: str) -> None:
    p = parse(
        "    over n\n    select a[head, n, n] from q, k where k.n <= q.n\n        above 0.3\n"
        f"    select b[head, n, n] from q, k where true\n        score -s\n        top {size}(a)\n"
        "    attend where b[head, q.n, k.n] and (a[head, q.n, k.n] or true) empty zero\n"
    )
    q, k, v = qkv(8, 8)
    sets = p.compile("reference").select(q, k, v)
    s = (8**-0.5 * q @ k.repeat_interleave(2, 1).mT).detach()
    for b in range(2):
        sizes = sets["a"][b].sum(-1)
        for h, i in itertools.product(range(4), range(8)):
            want = int(sizes.max() if size == "most" else sizes[h, i])
            least = ranked({j: -float(s[b, h, i, j]) for j in range(8)})[:want]
            assert sets["b"][b, h, i].nonzero()[:, 0].tolist() == sorted(least)


@pytest.mark.parametrize("count", [0, 1, 3, 8, 20])
def test_ties(count: int) -> None:
    body = (
        "    over n\n    input g: int[batch, n]\n    select r[n, n] from q, k where k.n != 2\n"
        "        score float(k.g)\n        force k.n == 5\n        top {count}\n        ties {ties}\n"
        "    attend where r[q.n, k.n] empty zero\n"
    )
    q, k, v = qkv(8, 8)
    g = torch.tensor([[1, 2, 9, 2, 0, 0, 2, 1], [0] * 8])
    forced = 5
    for ties in ("first", "all"):
        p = parse(body.replace("{ties}", ties).replace("{count}", str(count)))
        found = p.compile("reference").select(q, k, v, g=g)["r"]
        for b in range(2):
            scores = {j: float(g[b, j]) for j in range(8) if j not in (2, forced)}
            best = ranked(scores)[: max(count - 1, 0)]
            chosen = {forced, *best}
            if ties == "all" and best:
                chosen |= {j for j in scores if scores[j] == scores[best[-1]]}
            assert found[b, 0].nonzero()[:, 0].tolist() == sorted(chosen)


def refined(scores: dict[int, float], m: int, search: str) -> list[int]:
    """HiP's search over candidates in order, node by node."""

    def asked(node: tuple[int, int]) -> float:
        start, stop = node
        return scores[keys[start + (stop - start) // 2 if search == "centres" else start]]

    keys = sorted(scores)
    n = len(keys)
    if n <= m:
        return keys
    nodes = [(n * t // m, n * (t + 1) // m) for t in range(m)]
    size = n / m
    while size > 1:
        children = []
        for start, stop in nodes:
            middle = start + (stop - start) // 2
            children += [(start, middle), (middle, stop)]
        alive = [c for c in children if c[0] < c[1]]
        best = sorted(alive, key=lambda c: (-asked(c), c))[:m]
        nodes, size = sorted(best), size / 2
    return [keys[start] for start, _ in nodes]


@pytest.mark.parametrize("m", [1, 2, 3, 5, 7, 16])
@pytest.mark.parametrize("n", [1, 6, 17, 40])
@pytest.mark.parametrize("search", ["halving", "centres"])
def test_halving(n: int, m: int, search: str) -> None:
    p = parse(
        "    over n\n    select r[head, n, n] from q, k where k.n <= q.n and k.n % 3 != 1\n"
        f"        scale 1.0\n        top {m}\n        search {search}\n    attend where r[head, q.n, k.n] empty zero\n"
    )
    q, k, v = (x.detach() for x in qkv(n, n))
    q, k = q.mul(2).round(), k.round()  # many equal scores
    found = p.compile("reference").select(q, k, v)["r"]
    s = q @ k.repeat_interleave(2, 1).mT
    for b, h, i in itertools.product(range(2), range(4), range(n)):
        scores = {j: float(s[b, h, i, j]) for j in range(i + 1) if j % 3 != 1}
        assert found[b, h, i].nonzero()[:, 0].tolist() == refined(scores, m, search)


def test_scores_of_runs_of_queries_and_keys() -> None:
    p = parse(
        "    over n\n    part a = blocks(n, 4)\n    part u = blocks(n, 3)\n"
        "    select r[head, a, u] from q, k where k.n <= q.n\n        scale 1.0\n"
        "        gather max where k.n // 3 == q.u\n"
        "        gather rows max where q.n // 4 == k.a and q.n % 2 == 1\n        top 2\n"
        "    attend where r[head, q.n // 4, k.n // 3] and causal(n) empty zero\n"
    )
    q, k, v = qkv(14, 14)
    found = p.compile("reference").select(q, k, v)["r"]
    assert found.shape == (2, 4, 4, 5)
    s = (q @ k.repeat_interleave(2, 1).mT).detach()
    for b, h, a in itertools.product(range(2), range(4), range(4)):
        scores: dict[int, float] = {}
        for i, j in itertools.product(range(14), range(14)):
            if i // 4 == a and i % 2 == 1 and j <= i:
                scores[j // 3] = max(scores.get(j // 3, -torch.inf), float(s[b, h, i, j]))
        assert found[b, h, a].nonzero()[:, 0].tolist() == sorted(ranked(scores)[:2])


@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_counts(backend: str, dtype: torch.dtype) -> None:
    """Whole numbers in every precision; of each head where heads differ."""
    n = 300
    p = parse(
        "    over n\n    input c: int[batch, n]\n"
        "    past = attend where k.n < q.n and q.c == k.c empty zero\n"
        "    near = attend where q.n - k.n <= head and causal(n)\n"
        "    seen = count(past)\n    asked = column_count(past)\n    own = count(near)\n"
        "    return q * (1.0 if q.seen % 2 == 0 else 0.0) + near * (float(q.own))\n"
    )
    q, k, v = (x.to(dtype).detach() for x in qkv(n, n))
    c = torch.randint(0, 2, (2, n))
    out = p.compile(backend)(q, k, v, c=c)
    near = parse("    over n\n    attend where q.n - k.n <= head and causal(n)\n").compile(backend)(
        q, k, v
    )
    seen = [[sum(int(c[b, j] == c[b, i]) for j in range(i)) for i in range(n)] for b in range(2)]
    even = torch.tensor(seen)[:, None, :, None] % 2 == 0
    own = torch.minimum(torch.arange(n)[:, None] + 1, torch.arange(4) + 1).T[None, :, :, None]
    wide = torch.float32 if dtype is torch.bfloat16 else dtype
    expected = torch.where(even, q.to(wide), 0.0) + near.to(wide) * own
    torch.testing.assert_close(
        out, expected.to(dtype), rtol=1e-2 if dtype is torch.bfloat16 else 1e-12, atol=1e-12
    )


def test_counts_of_queries() -> None:
    p = parse(
        "    over n\n    input c: bool[batch, n]\n"
        "    marks = attend where q.c and q.n < k.n empty zero\n    section = column_count(marks)\n"
        "    attend where causal(n)\n        score s * float(k.section)\n"
    )
    q, k, v = qkv(11, 11)
    c = torch.rand(2, 11) < 0.5
    before = torch.stack([torch.stack([c[b, :j].sum() for j in range(11)]) for b in range(2)])
    s = 8**-0.5 * q @ k.repeat_interleave(2, 1).mT * before[:, None, None]
    past = torch.tril(torch.ones(11, 11, dtype=torch.bool))
    expected = torch.where(past, s, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
    for backend in ("reference", "blocked"):
        torch.testing.assert_close(p.compile(backend)(q, k, v, c=c), expected)


def test_what_members_count() -> None:
    """A number in binary, for all heads and for each."""
    p = parse(
        "    over n\n    part r = range(5)\n    input R: float[r, head_dim]\n"
        "    input all: float[len(q.n), head_dim]\n"
        "    select bits[head, n, r] from q, R where true\n        above 0.0\n"
        "    select one[n, r] from all, R where true\n        above 0.0\n"
        "    code = count(bits, pow2(k.r) - 2 * k.r)\n    shared = count(one, pow2(k.r))\n"
        "    return q * float(q.code) + q * float(q.shared)\n"
    )
    q, k, v = qkv(7, 7)
    R, every = torch.randn(5, 8, dtype=torch.float64), torch.randn(7, 8, dtype=torch.float64)
    out = p.compile("reference")(q, k, v, {"n": 7}, R=R, all=every)
    for b, h, i in itertools.product(range(2), range(4), range(7)):
        code = sum(2**r - 2 * r for r in range(5) if q[b, h, i] @ R[r] > 0)
        shared = sum(2**r for r in range(5) if every[i] @ R[r] > 0)
        torch.testing.assert_close(out[b, h, i], q[b, h, i] * (code + shared))


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_rank(backend: str) -> None:
    """Of both sides, by head and not, many equal."""
    p = parse(
        "    over n\n    input g: float[batch, head, n]\n    input d: int[batch, n]\n"
        "    first = rank(k.g * 2.0)\n    second = rank(q.d)\n"
        "    attend where q.second >= k.n empty zero\n        score s + 0.1 * float(k.first)\n"
    )
    q, k, v = qkv(9, 9)
    g = torch.randint(0, 3, (2, 4, 9)).double()
    d = torch.randint(0, 3, (2, 9))
    out = p.compile(backend)(q, k, v, g=g, d=d)

    def places(x: Tensor) -> Tensor:
        order = sorted(range(9), key=lambda i: (float(x[i]), i))
        return torch.tensor([order.index(i) for i in range(9)])

    for b, h in itertools.product(range(2), range(4)):
        s = 8**-0.5 * q[b, h] @ k[b, h // 2].T + 0.1 * places(g[b, h])
        seen = places(d[b])[:, None] >= torch.arange(9)
        expected = s.masked_fill(~seen, -torch.inf).softmax(-1) @ v[b, h // 2]
        torch.testing.assert_close(out[b, h], expected)


def test_numbers_beside_a_prefix() -> None:
    """They are those of the tokens on the axes."""
    p = parse(
        "    over n\n    prefix cls: 1\n    input d: int[batch, n]\n    place = rank(k.d)\n"
        "    seen = attend where q in cls or k in cls or k.n <= q.n\n    keys = count(seen)\n"
        "    attend where q in cls or k in cls or k.place <= q.keys - 2 empty zero\n"
    )
    q, k, v = qkv(6, 6)
    d = torch.tensor([[4, 1, 3, 0, 2]])
    out = p.compile("reference")(q, k, v, {"n": 5}, d=d)
    seen = torch.ones(6, 6, dtype=torch.bool)
    seen[1:, 1:] = d[0] <= torch.arange(5)[:, None]
    s = (8**-0.5 * q @ k.repeat_interleave(2, 1).mT).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(out, s.softmax(-1) @ v.repeat_interleave(2, 1))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("select r[n] from k where true\n        top 2", "no score of its own"),
        ("select r[n, n] from q, k, v where true\n        top 2", "one or two tensors"),
        ("select r[n, n] from q, k where true\n        above 0.5\n        ties all", "belong to `top`"),
        ("select r[n, n] from q, k where true\n        top count(x)", "an earlier set"),
        ("x = rank(q.n + k.n)\n    select r[n, n] from q, k where true\n        top 1", "one side"),
        (
            "select r[n, n] from q, k where true\n        top 1\n    x = count(r, q.n)",
            "by its place|with its place",
        ),
        ("select r[n] from k where q.n > 0\n        score 0.0\n        top 2", "`q.n`"),
    ],
)  # fmt: skip
def test_mistakes(lines: str, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        parse(f"    over n\n    {lines}\n    attend where r[k.n, k.n] empty zero\n")


def test_what_a_set_is_read_of_changes_the_hash() -> None:
    body = (
        "    over n\n    select a[n, n] from q, k where true\n        top 1\n"
        "    select r[n, n] from q, k where true\n        top {amount}\n        {more}\n"
        "    attend where r[q.n, k.n] and a[q.n, k.n] empty zero\n"
    )
    forms = [
        ("2", ""),
        ("count(a)", ""),
        ("most(a)", ""),
        ("2", "ties all"),
        ("2", "search halving"),
        ("2", "search centres"),
    ]
    found = {parse(body.format(amount=x, more=y)).hash for x, y in forms}
    assert len(found) == len(forms)
    assert isinstance(attnlang.parse("pattern p:\n" + body.format(amount="2", more="")).hash, str)


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_numbers_of_other_tokens_are_tables(backend: str) -> None:
    """Where tokens are others, a number is read at its place, and keeps its slope."""
    p = parse(
        "    over n\n    part b = range(3)\n    pool copies[n, b] = first(q)\n"
        "    past = attend where causal(n)\n    z = lse(past)\n"
        "    every = attend where k.n <= q.n\n    own = count(every)\n"
        "    some = attend copies, k, v where k.n % 3 == q.b and k.n < own[q.n] empty zero\n"
        "    g = lse(some)\n    shared = some * exp(q.g - z[head, q.n])\n"
        "    pool total[n] = sum(shared)\n    return total\n"
    )
    q, k, v = qkv(10, 10)
    whole = parse("    over n\n    attend where causal(n)\n").compile("reference")
    found, expected = p.compile(backend)(q, k, v), whole(q, k, v)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for a, b in zip(
        *(torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_row_max_in_a_score() -> None:
    """The largest score of the query's candidates."""
    p = parse(
        "    over n\n    select r[head, n, n] from q, k where k.n <= q.n\n"
        "        score row_max(s) - s\n        above 1.0\n"
        "    attend where r[head, q.n, k.n] empty zero\n"
    )
    q, k, v = qkv(9, 9)
    s = (8**-0.5 * q @ k.repeat_interleave(2, 1).mT).detach()
    past = torch.tril(torch.ones(9, 9, dtype=torch.bool))
    top = s.masked_fill(~past, -torch.inf).amax(-1, keepdim=True)
    assert torch.equal(p.compile("reference").select(q, k, v)["r"], past & (top - s > 1.0))
