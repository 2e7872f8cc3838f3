"""Whatever is typed: an answer or a clear error, never a mistake of attnlang."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Run

TARGETS = (
    "good.attn", "bad.attn", "broken.attn", "good.attn:window", "good.attn:other", "nothere.attn",
    "stdlib:sliding_window", "stdlib:neighborhood_2d", "stdlib:longlora_s2", "stdlib:nothing",
    "stdlib:lca_causal_document", "causal", ".", "", ":", "AL101", "stdlib:", "good.attn:",
)  # fmt: skip
OPTIONS = (
    ("--size", "n=16"), ("--size", "n=0"), ("--size", "n=-3"), ("--size", "y=9"), ("--size", "x=8"),
    ("--size", "q.n=5"), ("--size", "n=7", "--size", "k.n=9"), ("--size", "=3"), ("--size", "n="),
    ("--size", "n=99999999999999999999"), ("--heads", "3"), ("--heads", "-1"), ("--heads", "x"),
    ("--heads", "4", "--kv-heads", "3"), ("--head-dim", "7"), ("--set", "window=3"),
    ("--set", "window=-1"), ("--set", "window=1e999"), ("--set", "window=nan"),
    ("--set", "window=5,7"), ("--set", "window=()"), ("--set", "size=2.5"), ("--set", "edge=wrap"),
    ("--set", "edge=7"), ("--set", "sinks=true"), ("--input", "doc=0*9,1*7"), ("--input", "doc=1"),
    ("--input", "doc=x"), ("--input", "k.doc=0,1"), ("--input", "doc=@."), ("--input", "doc="),
    ("--tile", "3"), ("--tile", "0"), ("--tile", "2,2"), ("--tile", "3:1:2"), ("--tiles",),
    ("--elements",), ("--planned",), ("--head", "0"), ("--head", "-1"), ("--width", "20"),
    ("--width", "1"), ("--json",), ("--color", "always"), ("--color", "blue"), ("--out", "."),
    ("--out", "made"), ("--out", "a/b/c.svg"), ("--out", "c.svg"), ("--check",), ("--diff",),
    ("--format", "sarif"), ("--family", "x"), ("--axes", "y,x"), ("--verify",), ("--force",),
)  # fmt: skip
SHARED = ("--size", "--heads", "--kv-heads", "--head-dim", "--set", "--input", "--json", "--color")
TAKES: dict[str, tuple[str, ...]] = {
    "check": ("--format", "--json"),
    "explain": SHARED,
    "show": (*SHARED, "--tile", "--tiles", "--elements", "--planned", "--head", "--width", "--out"),
    "list": ("--family", "--json"),
    "fmt": ("--check", "--diff", "--json"),
    "new": ("--axes", "--out", "--json"),
    "diff": SHARED,
    "compile": (*SHARED, "--out", "--verify", "--force"),
    "nothing": (),
}


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with targets and mostly options that it takes."""
    command = draw(st.sampled_from(list(TAKES)))
    targets = draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2))
    taken = [o for o in OPTIONS if o[0] in TAKES[command]]
    known = draw(st.lists(st.sampled_from(taken), max_size=4)) if taken else []
    other = draw(st.lists(st.sampled_from(OPTIONS), max_size=1))
    return [command, *targets, *(word for option in (*known, *other) for word in option)]


@settings(
    suppress_health_check=list(HealthCheck), deadline=None, max_examples=200, derandomize=True
)
@given(lines())
def test_never_an_internal_error(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert done.code in (0, 1, 2), done.err
    assert "Traceback" not in done.err
    if "--json" in words and "sarif" not in words:
        assert done.json["schema"].startswith("attnlang.")
