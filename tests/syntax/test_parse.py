"""Reading texts: words, numbers, strings, comments, spans, bytes."""

from __future__ import annotations

import pytest

from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.source import Source
from attnlang.compiler.syntax import tree as t
from attnlang.compiler.syntax.parse import decode, parse


def read(text: str) -> t.Module:
    return parse(Source("file.attn", text))


def statements(body: str) -> tuple[t.Statement, ...]:
    (pattern,) = read(f"pattern p:\n    over n\n    {body}\n").patterns
    return pattern.body[1:]


def value(expression: str) -> t.Expression:
    (let,) = statements(f"let x = {expression}")
    assert isinstance(let, t.Let)
    return let.value


def refused(text: str) -> str:
    with pytest.raises(PatternError) as error:
        read(text)
    (found,) = error.value.diagnostics
    return f"{found.code} {found.message}"


@pytest.mark.parametrize("word", ["overs n", "lety 3", "attendwhere true", "headss[:]:"])
def test_keywords_are_whole_words(word: str) -> None:
    first = word.split()[0].split("[")[0]
    assert refused(f"pattern p:\n    {word}\n") == f"AL010 unexpected `{first}`"


@pytest.mark.parametrize("name", ["nothing", "orchard", "inner", "iffy", "score", "over", "on"])
def test_names_may_begin_with_keywords_or_be_contextual_ones(name: str) -> None:
    assert value(f"{name} or not {name}") == t.Boolean("or", (t.Name(name), t.Not(t.Name(name))))


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("1_000", 1000), ("2147483647", 2147483647), ("1.5", 1.5), (".5", 0.5),
     ("1e3", 1000.0), ("1_0.2_5e-1", 1.025), ("-3", -3), ("+3", 3), ("--3", 3)],
)  # fmt: skip
def test_numbers(text: str, number: float) -> None:
    made = value(text)
    assert made == t.Number(number)
    assert isinstance(made, t.Number)
    assert type(made.value) is type(number)


@pytest.mark.parametrize("text", ["1_", "1__0", "1.", "0x10", "1e", "٣", "2147483648", "1e999"])
def test_numbers_that_are_none(text: str) -> None:
    assert refused(f"pattern p:\n    let x = {text}\n")[:5] in ("AL006", "AL010")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'"plain"', "plain"),
        (r'"a \"quoted\" word"', 'a "quoted" word'),
        (r'"back\\slash"', "back\\slash"),
        (r'"\\n is no line break"', "\\n is no line break"),
        (r'"two\nlines"', "two\nlines"),
        (r'"an unknown \d escape"', r"an unknown \d escape"),
        ('"""a "quoted" word"""', 'a "quoted" word'),
        ('"""First.\n\n        deep\n          deeper\n        """', "First.\n\ndeep\n  deeper"),
        ('"# no comment"', "# no comment"),
        ('""', ""),
    ],
)
def test_strings(written: str, text: str) -> None:
    module = read(f"pattern p:\n    {written}\n    over n\n")
    assert module.patterns[0].doc == text
    assert module.comments == ()


def test_the_docstring_of_a_file_comes_first() -> None:
    assert read('# licence\n\n"""Doc."""\n').doc == "Doc."
    text = '"""Doc."""\ndef f():\n    return 1\n"""more"""\n'
    assert refused(text).startswith("AL010 unexpected `")


def test_arxiv_numbers_keep_their_zeros() -> None:
    (paper,) = statements('paper "T" year 2024 arxiv 2401.10200')
    assert paper == t.Paper("T", (("year", "2024"), ("arxiv", "2401.10200")))


def test_spans_end_with_the_code() -> None:
    text = """pattern p:  # header
    over n  # axes
    # own line
    attend where (q.n  # inside
        == k.n)  # after

    # end of the block
# end of the file
"""
    (pattern,) = read(text).patterns
    assert [s.span.text for s in pattern.body] == [
        "over n",
        "attend where (q.n  # inside\n        == k.n)",
    ]
    assert pattern.span.text.endswith("== k.n)")
    assert [(c.line, c.own_line) for c in read(text).comments] == [
        (1, False), (2, False), (3, True), (4, False), (5, False), (7, True), (8, True),
    ]  # fmt: skip


def test_lines_join_in_brackets_and_after_a_backslash() -> None:
    assert value("(a\n  +\n b)") == value("a + b")
    assert value("a \\\n      + b") == value("a + b")
    assert value("t[\n1,\n# why\n2\n]") == value("t[1, 2]")


def test_windows_line_ends_and_byte_order_marks() -> None:
    text = "pattern p:\n    over n  # axes\n    attend where true\n"
    plain = read(text)
    marked = parse(decode("file.attn", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()))
    assert marked == plain
    assert marked.comments == plain.comments


def test_the_place_of_a_byte_that_is_not_utf8() -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        with pytest.raises(PatternError) as error:
            decode("file.attn", mark + "é\nab".encode() + b"\xff\xfe")
        (found,) = error.value.diagnostics
        assert (found.code, found.location) == ("AL002", "file.attn:2:3")
        assert found.primary is not None
        assert found.primary.text == "byte 0xff"


def test_dedents_inside_docstrings_are_text() -> None:
    text = 'pattern p:\n    """One.\n  two\n three"""\n    over n\n   attend where true\n'
    with pytest.raises(PatternError) as error:
        read(text)
    (found,) = error.value.diagnostics
    assert (found.code, found.location) == ("AL012", "file.attn:6:1")
