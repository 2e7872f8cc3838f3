"""One kernel of softmax attention launched, as the manifest says under "launch"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.backends.ahead.runtime.files import compiled, module, tables_of
from attnlang.backends.triton.choices import Choice, Shape, choices, constants, padded, step_of
from attnlang.backends.triton.descriptors import descriptor, grid_descriptor, has_grid
from attnlang.backends.triton.fit import first_that_fits, least
from attnlang.backends.triton.steps import of_boxes

Tensor = torch.Tensor
Key = str | tuple[str, str]
"""A table by its name, values of tokens by side and name."""
LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Leaf:
    """One way in which a score reads a learned tensor.

    value: what is read: by tokens of the side ``stands_on``, or where both sides choose (None) of
    each entry that the dimensions ``moving`` have, whose places it is given.
    """

    number: int
    key: Key
    value: Callable[..., Tensor]
    stands_on: str | None = None
    moving: tuple[int, ...] = ()


@dataclass(frozen=True)
class Group:
    """What a group of heads has beside its kernels.

    sink: ``[B, H, Nq]``, a logit without a value. leaves: in the order of their numbers.
    """

    sink: Tensor | None = None
    leaves: tuple[Leaf, ...] = ()


@dataclass(frozen=True)
class Call:
    """described: can tiles be read by descriptors? values: of kernels' parameters, by their
    names."""

    launch: dict[str, Any]
    groups: Sequence[Group]
    keys: tuple[Key, ...]
    scale: float
    described: bool
    values: dict[str, Any]


_fitting: dict[tuple[str, str, Shape, torch.device], Choice] = {}
"""What was found to be the first that fits."""
_counted: dict[tuple[str, str, int, torch.device], dict[str, Tensor]] = {}
"""How many steps the rows of a plan's boxes have."""


def run_kernel(call: Call, group: dict[str, Any], name: str, given: dict[str, Any]) -> None:
    """A kernel over all tiles of the group's heads, with the first choice that the device has room
    for. Raises RuntimeError where there is none."""
    kernel = _described(call, group, name, given) or group["kernels"][name]
    on_keys, q, v = kernel["stands_on"] == "k", given["q"], given["v"]
    every = {**call.values, **_numbers(call, group, kernel, given), **given}
    known = {n: tuple(x) if isinstance(x, list) else x for n, x in kernel["shape"].items()}
    shape = Shape(**{**known, "head_dim": q.shape[3], "value_dim": v.shape[3]})
    function = getattr(module(kernel["module"]), name)
    wanted = inspect.signature(function.fn).parameters
    heads = every["launched_kv_heads" if kernel["packed"] or on_keys else "launched_heads"]
    splits = given.get("splits", 1) if name != "merge" else 1

    def run(choice: Choice) -> None:
        own: dict[str, Any] = dict(constants(shape, choice, on_keys, closed=kernel["closed"]))
        if kernel["closed"]:
            own["tiles"] = -(-every["standing"] // choice.rows)
        else:
            own["tiles"] = kernel["rows"] * own["PARTS"]
        if "partial_boxes" in every:
            plan = (kernel["module"], group["tables"], choice.step, q.device)
            if plan not in _counted:
                _counted[plan] = _steps(every, step_of(shape.tile, choice.step), choice.step)
            own |= _counted[plan]
        for tensor in kernel["described"]:
            x, stands = given[tensor], (tensor in ("k", "v")) == on_keys
            tile, width = choice.rows if stands else choice.step, padded(x.shape[3])
            if tensor in kernel.get("carved", ()):
                start, lengths = kernel["grid"]["start"], tuple(kernel["grid"]["lengths"])
                box = step_of(shape.tile, tile)
                own[tensor] = grid_descriptor(x[:, :, start:], lengths, box, width)
            else:
                own[tensor] = descriptor(x, tile, width)
        grid = (given.get("programs", own["tiles"]), q.shape[0] * heads, splits)
        chosen = {n: own[n] if n in own else every[n] for n in wanted}
        if all(grid):
            function[grid](**chosen, **choice.options)

    key = (kernel["module"], name, shape, q.device)
    likely = list(choices(name, shape, on_keys))
    first = compiled("module", kernel["module"], q).get(name)
    if first is not None:
        cap = None if torch.version.hip else first["maxnreg"]
        likely = [Choice(**{**first, "maxnreg": cap}), *likely]
    if key in _fitting:
        likely = [_fitting[key]]
    found, dropped = first_that_fits(likely, run)
    if found is None:
        raise RuntimeError(f"`{name}` does not fit {q.device}: it needs {least(dropped)}")
    _fitting[key] = found


def _steps(given: dict[str, Any], extents: tuple[int, ...], step: int) -> dict[str, Tensor]:
    return {
        f"{kind}_steps": of_boxes(given[f"{kind}_offsets"], given[f"{kind}_boxes"], step, extents)
        for kind in ("partial", "full")
    }


def _described(
    call: Call, group: dict[str, Any], name: str, given: dict[str, Any]
) -> dict[str, Any] | None:
    """The kernel that reads by descriptors, where there is one and these tensors have them."""
    kernel: dict[str, Any] | None = group["described"].get(name) if call.described else None
    if kernel is None or "carved" not in kernel:
        return kernel
    axes = len(kernel["grid"]["lengths"])
    return kernel if all(has_grid(given[x], axes) for x in kernel["carved"]) else None


def _numbers(
    call: Call, group: dict[str, Any], kernel: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """What does not depend on the choice."""
    launch, values = call.launch, call.values
    first, last = group["heads"]
    shared = launch["heads"] // given["k"].shape[1]
    scale = call.scale if group["scale"] is None else group["scale"]
    numbers: dict[str, Any] = {
        "scale": scale, "scale_log2": scale * LOG2_E, "group": shared, "first_head": first,
        "launched_heads": last - first, "num_heads": launch["heads"],
        "batches": given["q"].shape[0],
        "launched_kv_heads": (last - 1) // shared - first // shared + 1,
    }  # fmt: skip
    if kernel["closed"]:
        length = values[f"length_{kernel['stands_on']}"]
        numbers["standing"] = length * (shared if kernel["packed"] else 1)
    else:
        tables = tables_of(launch, str(given["q"].device))
        mine = group["tables"]
        tables = {n.removeprefix(mine): x for n, x in tables.items() if n.startswith(mine)}
        numbers |= {n: x for n, x in tables.items() if not n.startswith("by_")}
        own = f"by_{kernel['stands_on']}."
        numbers |= {n.removeprefix(own): x for n, x in tables.items() if n.startswith(own)}
        numbers["rows"] = kernel["rows"]
    for tensor, x in given.items():
        if isinstance(x, Tensor) and x.dim() == 4:
            for i, dimension in enumerate(("batch", "head", "token")):
                numbers[f"{tensor}_stride_{dimension}"] = x.stride(i)
    for argument, value in group["arguments"].items():
        numbers[argument] = values[value] if isinstance(value, str) else value
    return numbers
