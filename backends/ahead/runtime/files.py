"""The files of this directory: the manifest, modules of kernels, plans."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Tensor = torch.Tensor
HERE = Path(__file__).parent
MANIFEST = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))

_modules: dict[str, ModuleType] = {}
_loaded: dict[tuple[str, str], dict[str, Tensor]] = {}


def module(name: str) -> ModuleType:
    """A file of this directory."""
    if name not in _modules:
        own = f"{HERE.name}_{name.removesuffix('.py')}_{id(_modules)}"
        spec = importlib.util.spec_from_file_location(own, HERE / name)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[own] = _modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_modules[name])
    return _modules[name]


def tables_of(launch: dict[str, Any], device: str) -> dict[str, Tensor]:
    """The plan: int32 numbers, one table after another."""
    name = launch["plan"]
    if (name, device) not in _loaded:
        content = bytearray((HERE / name).read_bytes())
        every = torch.frombuffer(content, dtype=torch.int32).to(device)
        shapes = launch["tables"].values()
        parts = every.split([math.prod(x) for x in shapes])
        shaped = [x.view(shape) for x, shape in zip(parts, shapes, strict=True)]
        _loaded[name, device] = dict(zip(launch["tables"], shaped, strict=True))
    return _loaded[name, device]


def machine(q: Tensor) -> str:
    """The target that a tensor's device is, as the manifest calls it."""
    if q.device.type == "cuda" and torch.version.hip is None:
        return "cuda:{}{}".format(*torch.cuda.get_device_capability(q.device))
    return ""


def compiled(field: str, value: str, q: Tensor) -> dict[str, dict[str, Any]]:
    """Choices of the kernels of one module or step, by their names: as compiled for this machine,
    else for the first of the targets."""
    mine = [x for x in MANIFEST["kernels"] if x.get(field) == value]
    targets = [x["target"] for x in mine]
    target = machine(q) if machine(q) in targets else next(iter(targets), "")
    return {x["kernel"]: x["choice"] for x in mine if x["target"] == target}


def choices_of(step: str, q: Tensor) -> dict[str, dict[str, Any]]:
    """Of the kernels of a linear attention."""
    return compiled("step", step, q)
