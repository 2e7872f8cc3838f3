"""Words and characters of other languages, and what attnlang writes instead."""

_LOOP = "the language has no loops: say which pairs attend with one expression over q and k"
_REPEAT = (
    "`for` stands at the start of a line and repeats statements: `for level in range(levels):`"
)
_CHOICE = "choose with an expression: `a if condition else b`"
_LOGIC = "boolean operators are words: `and`, `or`, `not`"
_QUOTES = 'strings are written with straight double quotes: "text"'
_INDENTED = "blocks are made by indentation, tables are indexed with `[ ]`"

WORDS = {
    "for": _REPEAT,
    "while": _LOOP,
    "if": _CHOICE,
    "elif": _CHOICE,
    "import": "the prelude is always there; other functions are written in the same file",
    "from": "the prelude is always there; other functions are written in the same file",
    "lambda": "write a function: `def name(...) -> bool:`",
    "class": "a file holds functions (`def`) and patterns (`pattern`)",
    "is": "equality is `==`",
    "not": "negate the whole: `not (q in cls)`",
    "mask": "pairs are chosen with `attend where ...`",
    "**": "there is no power operator: `x * x`, `pow2(n)` or `exp2(x)`",
}

CHARACTERS = {
    "&": _LOGIC,
    "|": _LOGIC,
    "~": "the boolean operator is the word `not`",
    "!": "the boolean operator is the word `not`; inequality is `!=`",
    "?": _CHOICE,
    "{": _INDENTED,
    "}": _INDENTED,
    ";": "one statement a line, without semicolons",
    "^": "powers of two are `pow2(n)`, powers of floats `exp2(x)`",
    "\\": "a `\\` continues a line only as its last character; or use `( )`",
    "'": 'strings are written with double quotes: "text"',
    "\N{LEFT SINGLE QUOTATION MARK}": _QUOTES,
    "\N{RIGHT SINGLE QUOTATION MARK}": _QUOTES,
    "\N{LEFT DOUBLE QUOTATION MARK}": _QUOTES,
    "\N{RIGHT DOUBLE QUOTATION MARK}": _QUOTES,
    "\N{DOUBLE LOW-9 QUOTATION MARK}": _QUOTES,
    "\N{MINUS SIGN}": "write `-`",
    "\N{EN DASH}": "write `-`",
    "\N{MULTIPLICATION SIGN}": "write `*`",
    "\N{DIVISION SIGN}": "write `/` or `//`",
    "\N{LESS-THAN OR EQUAL TO}": "write `<=`",
    "\N{GREATER-THAN OR EQUAL TO}": "write `>=`",
    "\N{NOT EQUAL TO}": "write `!=`",
    "\N{LOGICAL AND}": "write `and`",
    "\N{LOGICAL OR}": "write `or`",
    "\N{NOT SIGN}": "write `not`",
    "\N{ELEMENT OF}": "write `in`",
    "\N{RIGHTWARDS ARROW}": "write `->`",
    "\N{NO-BREAK SPACE}": "this is a no-break space: write a plain one",
}
"""By character; letters outside a to z are explained together."""
