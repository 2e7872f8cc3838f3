"""The kernels of one pattern as one Python module, and that module loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from attnlang.backends.blocked.sets import without
from attnlang.backends.triton.backward import key_gradient, query_gradient
from attnlang.backends.triton.decode import merge, split_forward
from attnlang.backends.triton.entries import table_gradient
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.forward import forward
from attnlang.backends.triton.learned import Leaf, leaves
from attnlang.backends.triton.row_max import row_max, row_max_gradient
from attnlang.backends.triton.source.printer import comment_safe, function_text
from attnlang.backends.triton.tops import tops
from attnlang.backends.triton.used import helpers
from attnlang.backends.triton.weights import is_softmax
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.canonical import content_hash
from attnlang.compiler.ir.expr import SymbolName
from attnlang.compiler.ir.pattern import Attend, PatternIR
from attnlang.compiler.ir.text import to_text
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.values import closed_groups


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of one head group, and their module's text.

    row_maxes: of every ``row_max`` in a score, in order, and row_max_gradients in that order too.
    table_gradient: None where no table's entries are chosen by pairs, or none is learned.
    leaves: the learned tensors of the score and gain.
    """

    row_maxes: tuple[Kernel, ...]

    forward: Kernel
    split_forward: Kernel
    merge: Kernel
    query_gradient: Kernel
    key_gradient: Kernel
    row_max_gradients: tuple[Kernel, ...]
    table_gradient: Kernel | None
    leaves: tuple[Leaf, ...]
    text: str

    @property
    def all(self) -> tuple[Kernel, ...]:
        every = (
            *self.row_maxes, self.forward, self.split_forward, self.merge, *self.row_max_gradients,
            self.query_gradient, self.key_gradient, self.table_gradient,
        )  # fmt: skip
        return tuple(kernel for kernel in every if kernel is not None)


@lru_cache(maxsize=256)
def write(pattern: PatternIR, group: int, form: Form) -> Kernels:
    """The module for the heads of one of the pattern's groups: the same text every time."""
    attend = closed_groups(pattern)[group].attend
    if form.own_scale:
        attend = _with_scale_in_score(attend)
    if form.tiles.listed is not None:  # who is listed is a member
        attend = replace(attend, where=without(attend.where, form.tiles.listed))
    numbers = range(len(tops(attend)))
    made = Kernels(
        tuple(row_max(pattern, attend, form, i) for i in numbers),
        forward(pattern, attend, form),
        split_forward(pattern, attend, form),
        merge(pattern, attend, form),
        query_gradient(pattern, attend, form),
        key_gradient(pattern, attend, form),
        tuple(row_max_gradient(pattern, attend, form, i) for i in numbers),
        table_gradient(pattern, attend, form),
        leaves(attend, form.learned),
        "",
    )
    printed = [function_text(kernel.function) for kernel in made.all]
    return replace(made, text="\n\n".join((_head(pattern, attend), helpers(printed), *printed)))


def _with_scale_in_score(attend: Attend) -> Attend:
    """The same attention with its factor of q.k a part of the score edit."""
    score = e.Symbol(SymbolName.SCORE)
    assert attend.scale is not None
    scaled = e.Arith("*", score, attend.scale)
    edit = rewrite(attend.score or score, lambda x: scaled if x == score else None)
    return replace(attend, score=edit, scale=None)


def _head(pattern: PatternIR, attend: Attend) -> str:
    """What the module was made from, as comments."""
    values = ", ".join(f"{name}={value}" for name, value in pattern.values)
    lines = [
        f"Generated from the pattern {pattern.name}({values}), hash {content_hash(pattern)}.",
        *([f"{pattern.meta.paper} ({pattern.meta.arxiv})"] if pattern.meta.paper else []),
        f"    attend where {to_text(attend.where)}",
        *([f"    score {to_text(attend.score)}"] if attend.score is not None else []),
        *([f"    sink {to_text(attend.sink)}"] if attend.sink is not None else []),
        *([] if is_softmax(attend) else [f"    normalise {attend.normaliser}"]),
        *([f"    gain {to_text(attend.gain)}"] if attend.gain is not None else []),
    ]
    return "\n".join(f"# {comment_safe(line)}" for line in lines) + "\n"


@lru_cache(maxsize=256)
def load(text: str) -> ModuleType:
    """The module of a text. Triton reads kernels from files, so it is written to the cache."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    path = cache_directory() / f"attnlang_{digest}.py"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        Path(file.name).replace(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cache_directory() -> Path:
    """Where generated modules are kept: ``$ATTNLANG_CACHE``, else under the user's cache."""
    given = os.environ.get("ATTNLANG_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "attnlang" / "kernels"
