"""AL201-AL208: kinds of values, and what they may depend on."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry

ENTRIES = (
    Entry(
        "AL201", "wrong kind", "{what} must be {expected}, not {found}",
        "Values are int, float or bool. An int is taken where a float is needed; nothing else is "
        "converted silently.",
        "pattern p:\n    over n\n    attend where q.n - k.n\n",
        "pattern p:\n    over n\n    attend where q.n - k.n >= 0\n",
    ),
    Entry(
        "AL204", "unknown type", "`{name}` is not a type here",
        "Types are int, float, bool, a choice `a | b`, one value per axis `int[axis]` or per head "
        "`int[head]` (parameters), a tensor `int[batch, n]` (inputs), and axis (functions).",
        "pattern p(window: integer = 8):\n    over n\n    attend where q.n - k.n < window\n",
        "pattern p(window: int = 8):\n    over n\n    attend where q.n - k.n < window\n",
    ),
    Entry(
        "AL205", "wrong index", "`{name}` is indexed by {expected}, not {found}",
        "A table takes one index for each of its dimensions (the batch is implied); a parameter "
        "with one value per axis takes the axis.",
        "pattern p:\n    over n\n    input bias: float[head]\n"
        "    attend where true\n        score s + bias[head, q.n]\n",
        "pattern p:\n    over n\n    input bias: float[head]\n"
        "    attend where true\n        score s + bias[head]\n",
    ),
    Entry(
        "AL206", "not a choice", "`{name}` is not one of the choices",
        "A parameter of type `a | b` holds one of these words and is compared with `==` or `!=`.",
        "pattern p(edge: truncate | wrap = wrap):\n    over n\n    attend where edge == clamped\n",
        "pattern p(edge: truncate | wrap = wrap):\n    over n\n    attend where edge == wrap\n",
    ),
    Entry(
        "AL207", "depends on too much", "{clause} cannot depend on {word}",
        "Requirements hold for a whole call, so they read only parameters, lengths and head "
        "counts; a scale or softcap may read the head; a sink may read the query; `where` and "
        "`score` may read everything, and only `score` the score `s`.",
        "pattern p:\n    over n\n    require q.n > 2\n    attend where true\n",
        "pattern p:\n    over n\n    require len(n) > 2\n    attend where true\n",
    ),
    Entry(
        "AL208", "division by zero", "`{op}` divides by 0",
        "Divisors must be proved never to be 0. For a value that may be, write `max(x, 1)`.",
        "pattern p:\n    over n\n    attend where q.n // 0 == k.n\n",
        "pattern p:\n    over n\n    attend where q.n // 2 == k.n\n",
    ),
)  # fmt: skip
