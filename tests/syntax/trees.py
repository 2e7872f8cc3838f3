"""Random syntax trees of the shapes the parser can give."""

from __future__ import annotations

import inspect

from hypothesis import strategies as st

from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.explain_syntax import STATEMENTS
from attnlang.compiler.syntax.printer import format_expression

WORDS = ("n", "x", "window", "head", "score", "empty", "over", "prefix", "on", "where", "if", "_a1")
words = st.sampled_from((*WORDS, "a_rather_long_name", "Another_name_of_some_length"))
names = st.builds(t.Name, words)
axes = st.lists(names, min_size=1, max_size=3).map(tuple)


def clean(text: str) -> str:
    """As the language reads a string: no shared indentation, no blank ends."""
    lines = [line.rstrip() for line in inspect.cleandoc(text).strip().split("\n")]
    return inspect.cleandoc("\n".join(lines))


strings = st.text('abc "\\#\n()', max_size=40).map(clean)
numbers = st.one_of(
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
).map(t.Number)


def _larger(inner: st.SearchStrategy[t.Expression]) -> st.SearchStrategy[t.Expression]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    keywords = st.lists(st.builds(t.Keyword, names, inner), max_size=2).map(tuple)
    labels = names | _copies(inner)
    return st.one_of(
        _copies(inner),
        st.builds(t.Attribute, inner, labels),
        st.builds(t.Subscript, inner, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(t.Call, names, st.lists(inner, max_size=3).map(tuple), keywords),
        st.builds(t.Negative, inner.filter(lambda x: not isinstance(x, t.Number))),
        st.builds(t.Not, inner),
        st.builds(t.Binary, st.sampled_from(["+", "-", "*", "//", "/", "%"]), inner, inner),
        several.flatmap(lambda xs: st.builds(t.Compare, st.just(xs), _comparisons(len(xs) - 1))),
        st.builds(t.Boolean, st.sampled_from(["and", "or"]), several),
        st.builds(t.Member, inner, labels),
        st.builds(t.Conditional, inner, inner, inner),
        st.builds(t.Tuple, several),
    )


def _copies(inner: st.SearchStrategy[t.Expression]) -> st.SearchStrategy[t.Name]:
    return st.builds(t.Name, words, inner.filter(lambda x: not isinstance(x, t.Tuple)))


def _comparisons(count: int) -> st.SearchStrategy[tuple[str, ...]]:
    op = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return st.lists(op, min_size=count, max_size=count).map(tuple)


expressions = st.recursive(st.one_of(numbers, names), _larger, max_leaves=25)
labels = names | _copies(expressions)
several_labels = st.lists(labels, min_size=1, max_size=3).map(tuple)
types = st.one_of(
    st.builds(t.TypeName, st.tuples(names), st.lists(expressions, max_size=2).map(tuple)),
    st.builds(t.TypeName, st.lists(names, min_size=2, max_size=3).map(tuple)),
)
parameters = st.lists(
    st.builds(t.Parameter, names, types, st.none() | expressions), max_size=4
).map(tuple)
whens = st.none() | expressions
options = st.one_of(
    st.builds(
        t.Option,
        st.sampled_from(["score", "softcap", "scale", "sink", "decay", "delta"]),
        expressions,
        when=whens,
    ),
    st.builds(t.Rule, st.sampled_from(["empty", "normalise"]), names, whens),
)
choices = st.one_of(
    st.builds(t.Option, st.sampled_from(["score", "scale", "above", "force"]), expressions),
    st.builds(
        t.Option,
        st.sampled_from(["top", "mass"]),
        expressions,
        st.lists(labels, max_size=2).map(tuple),
        whens,
    ),
    st.builds(
        t.Rule,
        st.sampled_from(["normalise", "share", "ties", "search", "weigh", "gradient"]),
        names,
        whens,
    ),
    st.builds(t.Gather, names, st.none() | expressions, expressions, st.booleans(), whens),
)
# The word `where` ends the tensors that an `attend` names: none of them begins with it.
sources = st.lists(
    expressions.filter(lambda x: not format_expression(x).startswith("where")), max_size=3
).map(tuple)
attends = st.builds(
    t.Attend, expressions, st.lists(options, max_size=3).map(tuple), sources, st.booleans()
)
lets = st.builds(t.Let, labels, expressions)
fields = st.lists(
    st.tuples(st.sampled_from(["year", "arxiv"]), strings | st.just("2024")), max_size=2
)
simple_statements = st.one_of(
    st.builds(t.Over, st.none() | names, axes),
    st.builds(
        t.Extra,
        st.sampled_from(["prefix", "suffix"]),
        names,
        st.none() | expressions,
        st.none() | names,
    ),
    st.builds(t.Input, names, types, st.lists(names, max_size=2).map(tuple)),
    st.builds(t.Require, expressions, st.none() | strings),
    lets,
    attends,
    st.builds(t.Part, labels, expressions),
    st.builds(t.Pool, labels, several_labels, expressions, st.none() | expressions),
    st.builds(
        t.Select,
        labels,
        several_labels,
        sources.filter(bool),
        expressions,
        st.lists(choices, max_size=3).map(tuple),
    ),
    # A word that begins a statement cannot be the name of a tensor.
    st.builds(t.Assign, labels.filter(lambda n: n.id not in STATEMENTS), expressions | attends),
    st.builds(t.Result, expressions),
    st.builds(t.Paper, strings, fields.map(tuple)),
    st.builds(t.Fidelity, names),
)
statements = st.recursive(
    simple_statements,
    lambda inner: st.one_of(
        st.builds(
            t.Heads,
            st.none() | expressions,
            st.none() | expressions,
            st.lists(inner, min_size=1, max_size=3).map(tuple),
        ),
        st.builds(t.Repeat, names, expressions, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=4,
)
functions = st.builds(
    t.Function,
    names,
    parameters,
    st.none() | types,
    st.none() | strings,
    st.lists(lets, max_size=2).map(tuple),
    expressions,
)
patterns = st.builds(
    t.Pattern,
    names,
    parameters,
    st.none() | strings,
    st.lists(statements, min_size=1, max_size=4).map(tuple),
)
modules = st.builds(
    t.Module, st.none() | strings, st.lists(functions | patterns, max_size=3).map(tuple)
).filter(
    # The doc of a module stands above its first declaration.
    lambda m: m.doc is not None or m.declarations
)
