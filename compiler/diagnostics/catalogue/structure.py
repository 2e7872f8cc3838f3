"""AL301-AL316: what a pattern must and must not say."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry

_PARTS = "pattern p(block: int = 16):\n    over n\n    part b = blocks(n, block)\n    pool kb[b] = mean(k)\n"

ENTRIES = (
    Entry(
        "AL301", "no axes", "pattern `{name}` does not say over which axes its tokens lie",
        "`over n` for a sequence, `over y, x` for an image, `over t, y, x` for a video; "
        "`over q: y, x` and `over k: n` when queries and keys differ.",
        "pattern p:\n    attend where true\n",
        "pattern p:\n    over n\n    attend where true\n",
    ),
    Entry(
        "AL302", "nothing attends", "pattern `{name}` has no `{missing}`",
        "A pattern says which pairs attend: `attend where` and a condition over q and k.",
        "pattern p:\n    over n\n",
        "pattern p:\n    over n\n    attend where true\n",
    ),
    Entry(
        "AL303", "said twice", "{what} is said twice",
        "Each clause stands once. Conditions are joined with `and` and `or`; score edits are the "
        "exception: several `score` lines apply in order.",
        "pattern p:\n    over n\n    attend where q.n == k.n\n    attend where k.n == 0\n",
        "pattern p:\n    over n\n    attend where q.n == k.n or k.n == 0\n",
    ),
    Entry(
        "AL304", "too many axes", "more than {limit} axes on one side",
        "Tokens lie on one, two or three axes.",
        "pattern p:\n    over a, b, c, d\n    attend where true\n",
        "pattern p:\n    over a, b, c\n    attend where true\n",
    ),
    Entry(
        "AL305", "head groups", "a group of heads has exactly one `attend` (this one has {found})",
        "Either one `attend` holds for all heads, or every `heads[a:b]:` group has its own and no "
        "`attend` stands outside the groups.",
        "pattern p:\n    over n\n    heads[:]:\n        let a = 1\n",
        "pattern p:\n    over n\n    heads[:]:\n        attend where true\n",
    ),
    Entry(
        "AL306", "coordinate not there", "`{read}` is read where the token is of `{segment}`",
        "Prefix and suffix tokens have no grid coordinates and no per-token inputs, and grid "
        "tokens have no place in a prefix. The condition must be decided before it reads them.",
        "pattern p:\n    over y, x\n    prefix cls: 1\n    attend where q.y == k.y\n",
        "pattern p:\n    over y, x\n    prefix cls: 1\n"
        "    attend where q in cls or k in cls or q.y == k.y\n",
    ),
    Entry(
        "AL307", "rule for empty rows", "no rule for queries that attend nothing",
        "A run-time tensor can leave a query without any key. Say what such a row gives: `empty "
        "zero` (output 0, lse -inf), `empty self` (its own value), `empty full` (attends every "
        "key) or `empty passthrough` (the query vector).",
        "pattern p:\n    over n\n    input flag: bool[batch, n]\n    attend where k.flag\n",
        "pattern p:\n    over n\n    input flag: bool[batch, n]\n    attend where k.flag empty zero\n",
    ),
    Entry(
        "AL308", "out of place", "this statement belongs to the whole pattern",
        "Inside `heads[...]:` stand `let` and one `attend`; axes, inputs, requirements, prefixes "
        "and suffixes are the same for all heads.",
        "pattern p:\n    over n\n    heads[:]:\n        require len(n) > 1\n        attend where true\n",
        "pattern p:\n    over n\n    require len(n) > 1\n    heads[:]:\n        attend where true\n",
    ),
    Entry(
        "AL309", "not among these tokens", "`{read}` is not there in this step",
        "A step of a program has tokens of its own: pooled keys lie on the parts they were pooled "
        "to, and have no coordinate on the axis that was cut.",
        _PARTS + "    let past = k.n <= q.n\n    select r[n, b] from q, kb where past\n        top 2\n"
        "    attend where r[q.n, k.n // block] empty zero\n",
        _PARTS + "    select r[n, b] from q, kb where k.b * block <= q.n\n        top 2\n"
        "    attend where r[q.n, k.n // block] empty zero\n",
    ),
    Entry(
        "AL310", "tensor expression", "{what} cannot stand where tensors are meant",
        "Tensors are q, k, v, pools and the results of earlier steps. They are combined feature by "
        "feature with + - * / and functions such as `silu`; numbers beside them may vary with the "
        "tensor's own token and head.",
        "pattern p:\n    over n\n    a = attend where q.n == k.n\n    return a * k.n\n",
        "pattern p:\n    over n\n    a = attend where q.n == k.n\n    return a * q.n\n",
    ),
    Entry(
        "AL311", "tokens do not match", "`{first}` and `{second}` have different tokens",
        "Tensors combined with each other, and keys with their values, have one vector each for "
        "the same tokens.",
        _PARTS + "    return q + kb\n",
        "pattern p:\n    over n\n    a = attend where q.n == k.n\n    return q + a\n",
    ),
    Entry(
        "AL312", "part or pool", "this is no part or pool",
        "`part b = blocks(n, 64)` cuts an axis into blocks, `windows(n, 32, stride=16)` into runs "
        "that overlap; `pool kb[b] = mean(k)` makes one vector of each.",
        "pattern p:\n    over n\n    part b = halves(n)\n    attend where q.n == k.n\n",
        "pattern p:\n    over n\n    part b = blocks(n, 2)\n    pool kb[b] = mean(k)\n"
        "    pool vb[b] = mean(v)\n    attend q, kb, vb where k.b <= q.n // 2\n",
    ),
    Entry(
        "AL313", "two results", "a program has one result",
        "It is what `return` gives, or the one `attend` that has no name.",
        "pattern p:\n    over n\n    a = attend where q.n == k.n\n    attend where q.n == k.n\n"
        "    return a\n",
        "pattern p:\n    over n\n    a = attend where q.n == k.n\n"
        "    b = attend where q.n == k.n\n    return a + b\n",
    ),
    Entry(
        "AL314", "selection", "this selection does not fit together: {why}",
        "`select R[head, n, b] from q, kb where ...` fills a set over its dimensions: heads, the "
        "axes of the queries, the axes of the keys. One rule says how many are chosen.",
        _PARTS + "    select r[n, b] from q, kb where true\n"
        "    attend where r[q.n, k.n // block] empty zero\n",
        _PARTS + "    select r[n, b] from q, kb where true\n        top 2\n"
        "    attend where r[q.n, k.n // block] empty zero\n",
    ),
    Entry(
        "AL315", "linear attention", "this is not a linear attention: {why}",
        "`attend linear where k.n <= q.n` keeps a sum over the past instead of its keys. `decay x` "
        "multiplies it by exp(x) at every token, `delta b` writes by the delta rule; scores are "
        "polynomials of s, and are not normalised or divided by their sum.",
        "pattern p:\n    over n\n    attend linear where q.n - k.n < 4\n",
        "pattern p:\n    over n\n    attend linear where k.n <= q.n\n        decay -0.5\n",
    ),
    Entry(
        "AL316", "repetition", "this is not repeated: {why}",
        "`for level in range(levels):` repeats the `let`s and named tensors below it. How often is "
        "known when a pattern is loaded: it is computed from numbers and parameters. What is "
        "defined there has a copy for each value: `near@level`, `near@0`.",
        "pattern p:\n    over n\n    let near@0 = q.n == k.n\n    for i in range(1, len(n)):\n"
        "        let near = near@(i - 1) or q.n - k.n == pow2(i)\n    attend where near@0\n",
        "pattern p:\n    over n\n    let near@0 = q.n == k.n\n    for i in range(1, 9):\n"
        "        let near = near@(i - 1) or q.n - k.n == pow2(i)\n    attend where near@8\n",
    ),
)  # fmt: skip
