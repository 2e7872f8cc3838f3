"""Run-time tensors from the command line: written out, or read from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.cli.failures import UsageError
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl, PatternIR
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from attnlang.stdlib_info import input_type

Tensors = dict[str, Any]
"""An array by input name, or a pair of them: for queries and for keys."""

_DTYPES = {Kind.INT: np.int64, Kind.FLOAT: np.float64, Kind.BOOL: np.bool_}
_EXAMPLES = {Kind.INT: "0*8,1*8", Kind.FLOAT: "0.5,1.5", Kind.BOOL: "true*8,false*8"}


def read_tensors(written: Mapping[str, str], ir: PatternIR) -> Tensors:
    """The arrays, with the dimensions their inputs declare. Raises UsageError.

    ``doc=0,0,1`` stands for all batch elements; ``q.doc=`` and ``k.doc=`` give the two sides
    values of their own.
    """
    declared = {i.name: i for i in ir.inputs}
    plain: Tensors = {}
    sided: dict[str, dict[str, NDArray[Any]]] = {}
    for written_name, text in written.items():
        side, dot, rest = written_name.partition(".")
        one_side = bool(dot) and side in tuple(Side)
        name = rest if one_side else written_name
        if name not in declared:
            hint = did_you_mean(name, declared) or "this pattern takes no inputs"
            raise UsageError(f"pattern `{ir.name}` has no input `{name}`", hint)
        array = _shaped(_array(text, declared[name]), declared[name])
        if one_side:
            sided.setdefault(name, {})[side] = array
        else:
            plain[name] = array
    for name, sides in sided.items():
        rest_of = plain.get(name, next(iter(sides.values())))
        plain[name] = (sides.get("q", rest_of), sides.get("k", rest_of))
    return plain


def demand_inputs(ir: PatternIR, given: Mapping[str, object]) -> None:
    """Raises UsageError for an input that decides which pairs attend and is not there.

    Also for one that differs by head: pairs are looked at for whole classes of heads.
    """
    needed = {
        x.name
        for group in ir.groups
        for x in walk(group.attend.where)
        if isinstance(x, e.TokenInput | e.Table)
    }
    for decl in ir.inputs:
        if decl.name not in needed:
            continue
        if decl.sides and "head" in decl.dims:
            what = (
                f"input `{decl.name}` ({input_type(decl)}) decides for each head which pairs attend"
            )
            raise UsageError(f"{what}: this command cannot show that")
        if decl.name not in given and not decl.optional:
            raise UsageError(
                f"pattern `{ir.name}` needs the input `{decl.name}` ({input_type(decl)}) "
                "to say which pairs attend",
                f"for example: --input {decl.name}={_example(decl)} "
                f"or --input {decl.name}=@{decl.name}.npy",
            )


def _example(decl: InputDecl) -> str:
    values = _EXAMPLES[decl.kind]
    return values if set(decl.dims) - {"batch"} else values.split(",")[-1].split("*")[0]


def lengths_of(tensors: Mapping[str, Any], ir: PatternIR) -> dict[str, int]:
    """Axis lengths that the given tensors imply."""
    lengths: dict[str, int] = {}
    for decl in ir.inputs:
        value = tensors.get(decl.name)
        sides = zip(("q.", "k."), value, strict=True) if isinstance(value, tuple) else [("", value)]
        for prefix, array in sides:
            if array is None or array.ndim != len(decl.dims):
                continue
            for dim, size in zip(decl.dims, array.shape, strict=True):
                if isinstance(dim, str) and dim not in ("batch", "head"):
                    lengths[prefix + dim] = size
    return lengths


def batch_of(tensors: Mapping[str, Any], ir: PatternIR) -> int:
    """The batch that the tensors with a batch dimension come in."""
    sizes = [1]
    for decl in ir.inputs:
        value = tensors.get(decl.name)
        if value is not None and decl.dims[:1] == ("batch",):
            sizes.append(len(value[0] if isinstance(value, tuple) else value))
    return max(sizes)


def _array(text: str, decl: InputDecl) -> NDArray[Any]:
    if text.startswith("@"):
        return _read(Path(text[1:]), decl)
    items: list[object] = []
    for part in text.split(","):
        item, star, times = part.partition("*")
        if star and not times.strip().isdigit():
            raise UsageError(
                f"`{part}` in `{decl.name}` is not VALUE*TIMES", "for example: 0*8,1*8"
            )
        items.extend([_number(item.strip(), decl)] * (int(times) if star else 1))
    return np.asarray(items, dtype=_DTYPES[decl.kind])


def _number(text: str, decl: InputDecl) -> int | float | bool:
    try:
        match decl.kind:
            case Kind.INT:
                return int(text)
            case Kind.FLOAT:
                return float(text)
            case Kind.BOOL:
                return {"true": True, "false": False, "1": True, "0": False}[text]
    except (ValueError, KeyError):
        raise UsageError(f"`{text}` is no {decl.kind} (input `{decl.name}`)") from None


def _read(path: Path, decl: InputDecl) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            array = np.asarray(json.loads(path.read_text(encoding="utf-8")))
        else:
            raise UsageError(f"cannot read `{path}`", "give a .npy or a .json file")
    except ValueError as error:
        raise UsageError(f"`{path}` does not hold an array: {error}") from None
    wanted = np.dtype(_DTYPES[decl.kind])
    if not isinstance(array, np.ndarray) or array.dtype.kind not in {"i": "iu", "f": "fiu"}.get(
        wanted.kind, wanted.kind
    ):
        found = getattr(array, "dtype", type(array).__name__)
        raise UsageError(f"`{path}` must hold {decl.kind} values for `{decl.name}`, not {found}")
    return array.astype(wanted)


def _shaped(array: NDArray[Any], decl: InputDecl) -> NDArray[Any]:
    """With a batch dimension where one is declared and none was given."""
    batched = decl.dims[:1] == ("batch",)
    return array[None] if batched and array.ndim < len(decl.dims) else array


def with_absent(tensors: Tensors, problem: Problem) -> Tensors:
    """The tensors with zeros for the optional ones that are not given: that is how they read."""
    whole = dict(tensors)
    for decl in problem.pattern.inputs:
        if decl.optional and decl.name not in whole and "head" not in decl.dims:
            made: tuple[NDArray[Any], ...] = tuple(
                np.zeros(input_shape(decl, side, problem, 1), dtype=_DTYPES[decl.kind])
                for side in (decl.sides or (None,))
            )
            whole[decl.name] = made if len(made) == 2 else made[0]
    return whole


def on_grid(tensors: Tensors, sizes: Mapping[str, int], ir: PatternIR) -> Tensors:
    """Flat lists of values laid out on the axes they are declared over, row by row."""
    laid = dict(tensors)
    for decl in ir.inputs:
        value = laid.get(decl.name)
        axes = [d for d in decl.dims if d != "batch"]
        if (
            isinstance(value, np.ndarray)
            and len(axes) > 1
            and value.ndim == 1 + (len(axes) < len(decl.dims))
            and all(isinstance(a, str) and a in sizes for a in axes)
            and value.shape[-1] == int(np.prod([sizes[str(a)] for a in axes]))
        ):
            laid[decl.name] = value.reshape(*value.shape[:-1], *(sizes[str(a)] for a in axes))
    return laid
