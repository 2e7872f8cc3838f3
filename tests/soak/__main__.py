"""``python -m tests.soak --minutes 5``, or ``python -m tests.soak FILE.attn`` for one case again."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a file that the soak wrote: run it")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first cases")
    parser.add_argument("--backend", action="append", choices=("blocked", "triton"))
    parser.add_argument("--out", type=Path, default=Path("soak-output"), help="for failures")
    args = parser.parse_args()
    if not Path("/dev/nvidia0").exists():
        os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton
    from tests.soak.case import read, wrong
    from tests.soak.run import soak

    if args.file is not None:
        failure = wrong(read(args.file.read_text(encoding="utf-8")))
        print(failure or "nothing is wrong")
        return int(failure is not None)
    kept = soak(args.minutes, args.seed, args.out, tuple(args.backend or ("blocked", "triton")))
    return int(bool(kept))


if __name__ == "__main__":
    sys.exit(main())
