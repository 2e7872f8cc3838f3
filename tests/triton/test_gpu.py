"""What only a GPU can show: tensors beyond 2**31 elements, and kernels that stay within theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

import attnlang

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SAMPLE = ["causal", "alibi", "neighborhood_2d", "s2_local_stride", "lca_causal_document", "moba"]
"""Closed-form walks, scores, boxes, tables, run-time inputs, and sets."""


def needs(gigabytes: float) -> None:
    free, _ = torch.cuda.mem_get_info()
    if free < gigabytes * 2**30:
        pytest.skip(f"needs {gigabytes:g} GiB of free memory")


@pytest.mark.parametrize(
    ("heads", "tokens"), [(1, 2**25 + 17), (48, 2**20 + 17)], ids=["one head", "many heads"]
)
def test_tensors_beyond_32_bits(heads: int, tokens: int) -> None:
    """The last queries of the last head lie more than 2**31 elements from the first."""
    needs(48)
    window, width = 64, 64
    assert heads * tokens * width > 2**31
    op = attnlang.compile("stdlib:sliding_window", backend="triton", window=window)
    q, k, v = (
        torch.randn(1, heads, tokens, width, device="cuda", dtype=torch.bfloat16) for _ in "qkv"
    )
    out = op(q, k, v)
    for head in {0, heads - 1}:
        for query in (0, tokens // 2, tokens - 1):
            keys = slice(max(0, query - window + 1), query + 1)
            scores = k[0, head, keys].double() @ q[0, head, query].double() * width**-0.5
            expected = torch.softmax(scores, 0) @ v[0, head, keys].double()
            torch.testing.assert_close(out[0, head, query].double(), expected, atol=2e-2, rtol=0)


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="needs compute-sanitizer")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("name", SAMPLE)
def test_kernels_read_and_write_what_is_theirs(name: str, tool: str) -> None:
    """Outputs and gradients of every standard call of the pattern, watched by the sanitizer."""
    tests = "tests/triton/test_attention.py::test_standard_patterns"
    if name == "moba":
        tests = "tests/triton/test_routing.py::test_outputs_and_gradients"
    words = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable]
    words += ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"{tests}[{name}]"]
    free = {n: x for n, x in os.environ.items() if n != "TRITON_INTERPRET"}
    free["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"  # one block a tensor, so that its ends are watched
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=free)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
