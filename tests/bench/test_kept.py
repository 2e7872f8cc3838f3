"""A process told to keep what it frees does not ask the system for the same memory twice."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource
from attnlang.bench.kept import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

print(keep_freed_memory())
block = bytearray(1 << 26)
del block
before = faults()
block = bytearray(1 << 26)
print(faults() - before)
"""


def test_memory_is_found_once() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    kept, faults = done.stdout.split()
    assert kept == "False" or int(faults) < (1 << 26) // 4096 // 4
