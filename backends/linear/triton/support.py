"""What the kernels of linear attention do not run."""

from __future__ import annotations

import os

import torch

from attnlang.backends.linear.form import Tokens
from attnlang.backends.linear.triton.launch import WHOLE
from attnlang.compiler.diagnostics.model import Unsupported


def check_kernels(x: Tokens) -> None:
    """Raises Unsupported for what there are no kernels for, and for tensors they cannot read."""
    on_cpu = x.q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"
    features = {
        f"the delta rule with more than {WHOLE} channels": x.beta is not None
        and x.k.shape[3] > WHOLE,
        "float64 tensors": x.dtype is torch.float64,
        "tensors on the CPU": on_cpu,
    }
    for feature, present in features.items():
        if present:
            raise Unsupported(feature, "triton", "backend='blocked'")
