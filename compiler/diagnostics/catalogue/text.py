"""AL001-AL016: the text itself and its syntax."""

from attnlang.compiler.diagnostics.catalogue.entry import Entry

ENTRIES = (
    Entry(
        "AL001", "file cannot be read", "cannot read {name}: {reason}",
        "The file does not exist, is a directory, or may not be read.",
    ),
    Entry(
        "AL002", "not UTF-8", "{name} is not UTF-8 text",
        "Pattern files are UTF-8. The caret stands where the first undecodable byte is; "
        "re-save the file as UTF-8 (or check that it is not a binary file).",
    ),
    Entry(
        "AL003", "forbidden character", "the text holds a control character ({character})",
        "Control characters (NUL among them) and characters that reorder text on screen are "
        "refused everywhere, comments included: what you read is what is compiled.",
        'pattern p:\n    over n\n    attend where k.n \x00<= q.n\n',
        "pattern p:\n    over n\n    attend where k.n <= q.n\n",
    ),
    Entry(
        "AL004", "file too large", "{name} has {size} bytes; the limit is {limit}",
        "Pattern files are a few lines long. The limit of 256 KiB protects those who compile texts "
        "of strangers.",
    ),
    Entry(
        "AL005", "nested too deep", "nested too deep (the limit is {limit})",
        "Brackets, operators and calls may nest a bounded number of levels. Name parts with `let`.",
        "pattern p:\n    over n\n    attend where " + "(" * 70 + "true" + ")" * 70 + "\n",
        "pattern p:\n    over n\n    attend where (true)\n",
    ),
    Entry(
        "AL006", "number out of range", "this number is beyond {limit}",
        "Integer literals go up to 2147483647, floats up to the 64-bit range.",
        "pattern p:\n    over n\n    attend where q.n < 99999999999\n",
        "pattern p:\n    over n\n    attend where q.n < 999999999\n",
    ),
    Entry(
        "AL007", "expression too large",
        "with its functions put in place this is larger than {limit} parts or deeper than {depth}",
        "Functions and lets are put in place where they are used. A let that uses another twice "
        "doubles it; a chain of those grows without bound.",
        "pattern p:\n    over n\n    let a = q.n + k.n\n"
        + "".join(f"    let a{i} = a{i - 1 if i else ''} + a{i - 1 if i else ''}\n" for i in range(16))
        + "    attend where a15 > 0\n",
        "pattern p:\n    over n\n    let a = 65536 * (q.n + k.n)\n    attend where a > 0\n",
    ),
    Entry(
        "AL010", "unexpected text", "unexpected {found}",
        "The parser met something that cannot stand here. The help line says what can.",
        "pattern p:\n    over n\n    attend where q.n = k.n\n",
        "pattern p:\n    over n\n    attend where q.n == k.n\n",
    ),
    Entry(
        "AL011", "unbalanced bracket", "`{bracket}` has no partner",
        "Every `(` needs its `)` and every `[` its `]`.",
        "pattern p:\n    over n\n    attend where (q.n == k.n\n",
        "pattern p:\n    over n\n    attend where (q.n == k.n)\n",
    ),
    Entry(
        "AL012", "indentation", "the indentation of this line fits nothing",
        "A block is indented deeper than the line that opens it, and all its lines alike. "
        "Nothing else is indented. A tab counts as reaching the next multiple of 8.",
        "pattern p:\n    over n\n      attend where true\n",
        "pattern p:\n    over n\n    attend where true\n",
    ),
    Entry(
        "AL013", "missing colon", "`:` is missing at the end of this line",
        "`pattern`, `def` and `heads[...]` lines end in a colon; their block follows, indented.",
        "pattern p\n    over n\n    attend where true\n",
        "pattern p:\n    over n\n    attend where true\n",
    ),
    Entry(
        "AL014", "string not closed", "this string is never closed",
        'A "string" ends on its line; a """longer one""" may span lines.',
        'pattern p:\n    paper "Attention\n    over n\n    attend where true\n',
        'pattern p:\n    paper "Attention"\n    over n\n    attend where true\n',
    ),
    Entry(
        "AL015", "no pattern", "{name} holds no pattern",
        "A file used as a pattern declares at least one: `pattern name:` and its block.",
        "def f(x: int) -> int:\n    return x\n",
        "pattern p:\n    over n\n    attend where true\n",
    ),
    Entry(
        "AL016", "empty block", "this block ends before it says anything",
        "After a line that ends in `:` comes at least one indented line.",
        "pattern p:\n\npattern r:\n    over n\n    attend where true\n",
        "pattern r:\n    over n\n    attend where true\n",
    ),
)  # fmt: skip
