"""show: what is drawn is what attends."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import attnlang
from tests.cli.conftest import Run
from tests.program.library import HEADS

ATTENDS = {"3", "4"}


def drawn(rows: list[str]) -> list[list[bool]]:
    return [[cell in ATTENDS for cell in row] for row in rows]


def test_terminal(run: Run) -> None:
    done = run("show", "good.attn", "--size", "n=12", "--set", "size=3", "--tile", "4")
    assert done.code == 0
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "window"
    assert lines[1].startswith("n=12; size=3; tiles of 4, ")
    rows = [line[6:].split() for line in lines if len(line.split()) >= 12][:12]
    cells = [row[-12:] for row in rows]
    assert [[c in "+#" for c in row] for row in cells] == [
        [0 <= q - k < 3 for k in range(12)] for q in range(12)
    ]


@pytest.mark.parametrize(
    ("name", "sizes", "params"),
    [
        ("sliding_window", {"n": 40}, {"window": 5, "sinks": 2}),
        ("neighborhood_2d", {"y": 5, "x": 6}, {"window": 3}),
        ("neighborhood_3d", {"t": 2, "y": 3, "x": 4}, {"window": 1}),
        ("longlora_s2", {"n": 32}, {}),
    ],
)
def test_elements(run: Run, name: str, sizes: dict[str, int], params: dict[str, int]) -> None:
    words = [w for n, s in sizes.items() for w in ("--size", f"{n}={s}")]
    words += [w for n, v in params.items() for w in ("--set", f"{n}={v}")]
    data = run("show", f"stdlib:{name}", *words, "--json").json
    assert data["schema"] == "attnlang.show/1"
    assert data["cells"] == "elements"
    heads = data["heads"]
    want = attnlang.load(f"stdlib:{name}", **params).mask(sizes, heads).numpy()
    if len(data["panels"]) == 1:
        assert drawn(data["panels"][0]["rows"]) == want[0].tolist()
    else:
        assert heads == 4
        assert [p["title"] for p in data["panels"]] == ["heads 0-1", "heads 2-3"]
        assert drawn(data["panels"][0]["rows"]) == want[0].tolist()
        assert drawn(data["panels"][1]["rows"]) == want[3].tolist()


def test_colours_of_tiles(run: Run) -> None:
    data = run("show", "stdlib:causal", "--size", "n=8", "--tile", "4", "--json").json
    rows = data["panels"][0]["rows"]
    assert rows[0] == "35550000"
    assert rows[7] == "44443333"
    tiles = run("show", "stdlib:causal", "--size", "n=8", "--tile", "4", "--tiles", "--json").json
    assert tiles["cells"] == "tiles"
    assert tiles["panels"][0]["rows"] == ["10", "21"]


def test_tiles_of_different_sides(run: Run) -> None:
    words = ("show", "stdlib:causal", "--size", "n=8", "--tile", "4:2", "--tiles", "--json")
    assert run(*words).json["panels"][0]["rows"] == ["1100", "2211"]


def test_one_head(run: Run) -> None:
    words = ("show", "stdlib:longlora_s2", "--heads", "6", "--head", "4", "--json")
    data = run(*words).json
    assert [p["title"] for p in data["panels"]] == ["head 4"]


def test_long_sequences_are_drawn_by_tiles(run: Run) -> None:
    data = run("show", "stdlib:sliding_window", "--size", "n=1048576", "--json").json
    assert data["cells"] == "tiles"
    assert 256 <= len(data["panels"][0]["rows"]) <= 1024
    planned = run("show", "stdlib:causal", "--size", "n=4096", "--planned", "--json").json
    assert planned["cells"] == "tiles"


@pytest.mark.parametrize("name", attnlang.stdlib.names())
def test_every_library_pattern_has_a_picture(run: Run, name: str) -> None:
    needs = attnlang.stdlib.info(name).inputs
    if needs and name != "lca_causal_document":
        pytest.skip("needs tensors of its own")
    words = ("--input", "doc=0*20,1*12") if needs else ()
    done = run("show", f"stdlib:{name}", *words)
    for heads, kv_heads, head_dim in HEADS if done.code else ():  # some demand these
        words = ("--heads", f"{heads}", "--kv-heads", f"{kv_heads}", "--head-dim", f"{head_dim}")
        done = run("show", f"stdlib:{name}", *words)
        if not done.code:
            break
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 100


def test_windows_are_shortened_with_a_note(run: Run) -> None:
    done = run("show", "stdlib:sliding_window")
    assert "window=16 in place of 4096" in done.err
    assert "--set window=" in done.err
    data = run("show", "stdlib:sliding_window", "--json").json
    assert data["params"]["window"] == 16
    assert data["sizes"] == {"n": 64}
    kept = run("show", "stdlib:sliding_window", "--size", "n=64", "--json").json
    assert kept["params"]["window"] == 4096
    assert "as long as the axis or longer" in kept["notes"][0]
    assert run("show", "stdlib:sliding_window", "--set", "window=9").err == ""


def test_the_picture_grows_to_what_is_required(run: Run) -> None:
    Path("wide.attn").write_text(
        "pattern wide:\n    over n\n    require len(n) >= 200\n    attend where causal(n)\n",
        encoding="utf-8",
    )
    assert run("show", "wide.attn", "--json").json["sizes"] == {"n": 256}


def test_requirements_that_nothing_meets(run: Run) -> None:
    Path("never.attn").write_text(
        "pattern never:\n    over n\n    require len(n) > 99999\n    attend where causal(n)\n",
        encoding="utf-8",
    )
    done = run("show", "never.attn")
    assert done.code == 1
    assert "error[AL404]" in done.err


def test_inputs(run: Run) -> None:
    done = run("show", "stdlib:lca_causal_document")
    assert done.code == 2
    assert "needs the input `doc` (int[batch, n] sorted)" in done.err
    assert "--input doc=0*8,1*8" in done.err
    docs = [0] * 3 + [1] * 4
    np.save("doc.npy", np.array(docs))
    Path("doc.json").write_text(json.dumps([docs]), encoding="utf-8")
    for given in ("0,0,0,1,1,1,1", "0*3,1*4", "@doc.npy", "@doc.json"):
        data = run("show", "stdlib:lca_causal_document", "--input", f"doc={given}", "--json").json
        assert data["sizes"] == {"n": 7}
        assert drawn(data["panels"][0]["rows"]) == [
            [docs[q] == docs[k] and k <= q for k in range(7)] for q in range(7)
        ]


def test_inputs_of_each_side(run: Run) -> None:
    words = ("--input", "q.doc=0,1", "--input", "k.doc=0,0,1", "--json")
    data = run("show", "stdlib:lca_full_document", *words).json
    assert data["sizes"] == {"q.n": 2, "k.n": 3}
    assert drawn(data["panels"][0]["rows"]) == [[True, True, False], [False, False, True]]
    words = ("--input", "k.doc=0,0,1", "--input", "doc=0,1,1", "--json")
    data = run("show", "stdlib:lca_full_document", *words).json
    assert drawn(data["panels"][0]["rows"]) == [
        [True, True, False],
        [False, False, True],
        [False, False, True],
    ]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ("dco=1", 2, "did you mean `doc`?"),
        ("doc=1,x", 2, "`x` is no int"),
        ("doc=1*y", 2, "not VALUE*TIMES"),
        ("doc=@nothere.npy", 2, "nothere.npy"),
        ("doc=@good.attn", 2, "cannot read"),
        ("doc=@bad.json", 2, "does not hold an array"),
        ("doc=@float.npy", 2, "must hold int values"),
    ],
)
def test_bad_inputs(run: Run, given: str, code: int, message: str) -> None:
    Path("bad.json").write_text("{", encoding="utf-8")
    np.save("float.npy", np.array([0.5]))
    done = run("show", "stdlib:lca_causal_document", "--input", given)
    assert done.code == code
    assert message in done.err


def test_inputs_of_the_wrong_length(run: Run) -> None:
    words = ("show", "stdlib:lca_causal_document", "--input", "doc=0,0", "--size", "n=4")
    done = run(*words)
    assert done.code == 1
    assert "error[AL408]" in done.err


def test_inputs_on_a_grid(run: Run) -> None:
    text = (
        "pattern p:\n    over y, x\n    input flag: bool[y, x]\n"
        "    attend where k.flag empty zero\n"
    )
    Path("flag.attn").write_text(text, encoding="utf-8")
    flags = "true,false,true,false,true,false"
    words = ("--input", f"flag={flags}", "--size", "y=2", "--size", "x=3", "--json")
    rows = run("show", "flag.attn", *words).json["panels"][0]["rows"]
    assert drawn(rows) == [[True, False] * 3] * 6


def test_optional_inputs_read_zero(run: Run) -> None:
    text = (
        "pattern p:\n    over n\n    input doc: int[batch, n] optional\n"
        "    attend where q.doc == k.doc\n"
    )
    Path("o.attn").write_text(text, encoding="utf-8")
    rows = run("show", "o.attn", "--size", "n=4", "--json").json["panels"][0]["rows"]
    assert drawn(rows) == [[True] * 4] * 4
    rows = run("show", "o.attn", "--input", "doc=0,1", "--json").json["panels"][0]["rows"]
    assert drawn(rows) == [[True, False], [False, True]]


def test_inputs_by_head_are_refused(run: Run) -> None:
    text = (
        "pattern p:\n    over n\n    input keep: bool[head, n]\n"
        "    attend where k.keep empty zero\n"
    )
    Path("h.attn").write_text(text, encoding="utf-8")
    done = run("show", "h.attn", "--input", "keep=true*4")
    assert done.code == 2
    assert "`keep` (bool[head, n])" in done.err
    assert run("explain", "h.attn", "--size", "n=4").code == 0


def test_svg(run: Run) -> None:
    done = run("show", "stdlib:causal", "--out", "c.svg")
    assert (done.code, done.out) == (0, "wrote c.svg\n")
    root = ET.fromstring(Path("c.svg").read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_png(run: Run) -> None:
    pytest.importorskip("matplotlib")
    done = run("show", "stdlib:neighborhood_2d", "--out", "n.PNG", "--json")
    assert done.code == 0
    assert done.json["out"] == "n.PNG"
    assert done.json["sizes"] == {"y": 12, "x": 12}
    assert Path("n.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_prefixes_are_named(run: Run) -> None:
    text = (
        "pattern p:\n    over n\n    prefix cls: 2\n"
        "    attend where q in cls or k in cls or q.n == k.n\n"
    )
    Path("cls.attn").write_text(text, encoding="utf-8")
    done = run("show", "cls.attn", "--size", "n=6")
    assert done.code == 0
    assert "cls" in done.out
