"""The tour that `make demo` gives: from a few lines of text to a trained model.

python examples/demo.py                    about five minutes
python examples/demo.py --minutes 0.3      trains for a moment only
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
FILE = "examples/patterns/local_global.attn"
LOCAL = f"{FILE}:local"


def main() -> None:
    options = arguments()
    out, began = options.out, time.time()

    heading("1. A pattern is a few lines of text")
    print((ROOT / FILE).read_text().rstrip())

    heading("2. Its mistakes are found before anything runs")
    attnlang("check", FILE)
    print("\nHad it said `bnad(n, window)`:")
    wrong = (ROOT / FILE).read_text().replace("band(n", "bnad(n")
    attnlang("check", "-", text=wrong, may_fail=True)

    heading("3. What it costs and what it promises, before a tensor exists")
    attnlang("explain", LOCAL, "--size", "n=32768", "--heads", "8")

    heading("4. Which pairs attend, and in which tiles")
    small = ("--size", "n=32", "--set", "window=8", "--set", "sinks=2", "--tile", "4")
    attnlang("show", LOCAL, *small)
    large = ("--size", "n=256", "--set", "window=48", "--tile", "16")
    attnlang("show", LOCAL, *large, "--out", f"{out}/local.svg")
    attnlang("show", LOCAL, *large, "--out", f"{out}/local.png")

    heading("5. Compiled to a plan, and checked against the dense reference")
    attnlang("compile", LOCAL, "--size", "n=1024", "--heads", "6", "--kv-heads", "2",
             "--head-dim", "32", "--verify", "--force", "--out", f"{out}/local")  # fmt: skip

    heading("6. A language model trained with it, on this machine's Python sources")
    example("train_bytes.py", "--minutes", str(options.minutes), "--out", str(out))

    heading("7. Beside PyTorch's attention with the same mask")
    quick = ("--quick",) if options.quick else ()
    example("compare_sdpa.py", *quick, "--out", str(out))

    heading(f"Done in {(time.time() - began) / 60:.1f} minutes")
    summary(out, began)


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}\n", flush=True)


def attnlang(*words: str, text: str | None = None, may_fail: bool = False) -> None:
    """One attnlang command, shown as one would type it; `text` is its standard input."""
    print(f"$ {shlex.join(['attnlang', *words])}", flush=True)
    run([sys.executable, "-m", "attnlang", *words], text, may_fail=may_fail)


def example(name: str, *words: str) -> None:
    """One example, shown as one would type it."""
    print(f"$ {shlex.join(['python', f'examples/{name}', *words])}\n", flush=True)
    run([sys.executable, str(EXAMPLES / name), *words])


def run(command: list[str], text: str | None = None, *, may_fail: bool = False) -> None:
    # Errors belong where they happen in the story, so both streams go to one place.
    done = subprocess.run(command, input=text, text=True, stderr=subprocess.STDOUT, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"this step failed with exit code {done.returncode}")


def summary(out: Path, began: float) -> None:
    """The measured numbers and the files of this run, at the end where they are found again."""
    trained: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    compared: dict[str, Any] = json.loads((out / "compare_sdpa.json").read_text())
    setting, speed = compared["setting"], f"{trained['bytes_per_second']:,} bytes a second"
    print(
        f"trained    {trained['steps']} steps of a model of {trained['parameters'] / 1e6:.1f} "
        f"million weights, {speed}\n"
        f"held out   {trained['held_out_bits_per_byte']:.2f} bits a byte (byte frequencies alone: "
        f"{trained['byte_frequency_bits_per_byte']:.2f})\n"
        f"compared   SDPA takes {compared['forward']['ratio']:.1f} times as long forward, "
        f"{compared['forward + backward']['ratio']:.1f} times with the gradient\n"
        f"           at {setting['tokens']} tokens with a window of {setting['window']}, on "
        f"{setting['threads']} threads"
    )
    print("\nFiles:")
    for path in sorted(p for p in out.rglob("*") if p.is_file() and p.stat().st_mtime >= began - 1):
        print(f"  {path.stat().st_size / 1000:8,.1f} kB  {path}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="of training (default: 3)")
    parser.add_argument("--quick", action="store_true", help="compare on 2048 tokens, not 8192")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for results")
    options = parser.parse_args()
    os.chdir(ROOT)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


if __name__ == "__main__":
    main()
