"""AL401-AL414: values given to a pattern: parameters, sizes, inputs, heads."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry

_WINDOW = "pattern p(window: int = 8):\n    over n\n    attend where 0 <= q.n - k.n < window\n"

ENTRIES = (
    Entry(
        "AL401", "unknown parameter", "pattern `{pattern}` has no parameter `{name}`",
        "Only declared parameters can be given. Sizes of axes are not parameters: they come with "
        "the tensors.",
        _WINDOW, _WINDOW, {"windows": 4},
    ),
    Entry(
        "AL402", "missing parameter", "pattern `{pattern}` needs a value for `{name}` ({type})",
        "A parameter without a default must be given when the pattern is loaded.",
    ),
    Entry(
        "AL403", "wrong parameter value", "parameter `{name}` ({type}) cannot be {value}",
        "The value must be of the declared type: one number, one of the choices as text, or one "
        "number per axis or head (a single number stands for all).",
        _WINDOW, _WINDOW, {"window": "wide"},
    ),
    Entry(
        "AL404", "requirement not met", "pattern `{pattern}` requires {condition}",
        "The pattern states what its parameters and lengths must satisfy; these values do not.",
        "pattern p(window: int = 8):\n    over n\n    require window >= 1\n"
        "    attend where 0 <= q.n - k.n < window\n",
        "pattern p(window: int = 8):\n    over n\n    require window >= 0\n"
        "    attend where 0 <= q.n - k.n < window\n",
        {"window": 0},
    ),
    Entry(
        "AL405", "missing size", "the length of {what} is not known",
        "Lengths come from the tensors when there is one axis and nothing else; otherwise give "
        'them: sizes={"y": 64, "x": 64}.',
    ),
    Entry(
        "AL406", "impossible size", "{what} cannot be {value}",
        "Lengths are whole numbers from 0 (a prefix or suffix) or 1 (an axis) to 2147483647, and "
        "their product must match the tensors.",
    ),
    Entry(
        "AL407", "missing input", "pattern `{pattern}` needs the input `{name}` ({type})",
        "Inputs are given with each call, by name, unless declared `optional`.",
    ),
    Entry(
        "AL408", "wrong input", "input `{name}` must be {expected}, not {found}",
        "An input has the declared number type and dimensions.",
    ),
    Entry(
        "AL409", "division by zero", "`{op}` may divide by 0 with these values",
        "Divisors must be proved never to be 0 for the given parameters and lengths. Add a "
        "`require`, or write `max(x, 1)`.",
        "pattern p(block: int = 4):\n    over n\n    attend where q.n // block == k.n // block\n",
        "pattern p(block: int = 4):\n    over n\n    attend where q.n // max(block, 1) == k.n // max(block, 1)\n",
        {"block": 0},
    ),
    Entry(
        "AL410", "number too large", "this may reach {value}, beyond 64-bit integers",
        "With these parameters and lengths an intermediate value does not fit.",
        "pattern p(w: int = 4):\n    over n\n    attend where (q.n + w) * w * w < k.n\n",
        "pattern p(w: int = 4):\n    over n\n    attend where q.n + w < k.n\n",
        {"w": 2147483647},
    ),
    Entry(
        "AL411", "heads", "{why}",
        "Groups of heads must cover every head once, tables per head hold one value for each, and "
        "query heads are a multiple of key heads.",
    ),
    Entry(
        "AL412", "unknown argument", "pattern `{pattern}` takes no `{name}`",
        "Only declared inputs and axes can be given to a call.",
    ),
    Entry(
        "AL413", "not one attention", "pattern `{pattern}` is a program, not one attention",
        "A plan, a mask and a picture are of one attention. Name the one that is meant: "
        "`stdlib:nsa.local`, or `pattern.steps` in Python.",
    ),
    Entry(
        "AL414", "growing decay", "this log-decay may be above 0",
        "A state is multiplied by exp(decay) at every token: above 0 it grows without bound. Write "
        "`-exp(x)` or `log(sigmoid(x))`, or declare the input `nonpositive`, which every call then "
        "checks.",
    ),
)  # fmt: skip
