"""AL101-AL109: names."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry

ENTRIES = (
    Entry(
        "AL101", "unknown name", "`{name}` is not defined",
        "Names are parameters, lets, inputs, axes, prefixes and suffixes of this pattern, the "
        "symbols head, heads, kv_head, kv_heads and head_dim, and the functions of the prelude "
        "and of this file.",
        "pattern p(window: int = 8):\n    over n\n    attend where q.n - k.n < windw\n",
        "pattern p(window: int = 8):\n    over n\n    attend where q.n - k.n < window\n",
    ),
    Entry(
        "AL102", "defined twice", "`{name}` is defined twice",
        "A name means one thing in a pattern. Choose another for the second.",
        "pattern p:\n    over n\n    let a = 1\n    let a = 2\n    attend where q.n > a\n",
        "pattern p:\n    over n\n    let a = 1\n    let b = 2\n    attend where q.n > a + b\n",
    ),
    Entry(
        "AL103", "unknown function", "there is no function `{name}`",
        "Functions are built in (min, max, abs, clamp, ...), in the prelude (causal, near, ...), "
        "or defined in the same file with `def`.",
        "pattern p:\n    over n\n    attend where causl(n)\n",
        "pattern p:\n    over n\n    attend where causal(n)\n",
    ),
    Entry(
        "AL104", "wrong arguments", "`{name}` {reason}",
        "Arguments go by position, then by name, as in Python.",
        "pattern p:\n    over n\n    attend where causal(n, n)\n",
        "pattern p:\n    over n\n    attend where causal(n)\n",
    ),
    Entry(
        "AL105", "recursion", "`{name}` calls itself",
        "The language is total: functions are put in place where they are called, so none can "
        "call itself, directly or through others.",
        "def f(x: int) -> int:\n    return f(x)\n\npattern p:\n    over n\n    attend where f(q.n) > 0\n",
        "def f(x: int) -> int:\n    return x\n\npattern p:\n    over n\n    attend where f(q.n) > 0\n",
    ),
    Entry(
        "AL106", "unknown coordinate", "`{name}` is not something a token has",
        "A token has a coordinate on each axis its side is `over`, a coordinate in its prefix or "
        "suffix, its place `index` in the sequence, and the inputs declared over its axes.",
        "pattern p:\n    over y, x\n    attend where q.z == k.z\n",
        "pattern p:\n    over y, x\n    attend where q.y == k.y\n",
    ),
    Entry(
        "AL107", "not a value", "`{name}` is not a value by itself",
        "Tokens, axes, tables and functions are not numbers: read a coordinate, a length, an "
        "entry, or call the function.",
        "pattern p:\n    over n\n    attend where q == k\n",
        "pattern p:\n    over n\n    attend where q.n == k.n\n",
    ),
    Entry(
        "AL108", "reserved name", "`{name}` has a meaning of its own",
        "The names of tokens (q, k), symbols and built-in functions cannot be defined anew.",
        "pattern p(head: int = 1):\n    over n\n    attend where q.n > head\n",
        "pattern p(first: int = 1):\n    over n\n    attend where q.n > first\n",
    ),
    Entry(
        "AL109", "unknown pattern", "{name} has no pattern `{pattern}`",
        "`file.attn:name` chooses one pattern of a file; without a name, the file must hold just one.",
    ),
)  # fmt: skip
