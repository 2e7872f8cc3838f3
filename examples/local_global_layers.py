"""A decoder whose layers follow a schedule: five look nearby, one looks everywhere, as in Gemma 3.

Trains it for some steps on this machine's Python sources, and says what the schedule saves.

    python examples/local_global_layers.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import cycle, islice

import torch
from bytelm import corpus
from bytelm.model import Decoder, Shape
from bytelm.training import Budget, train

import attnlang
from attnlang.op import AttentionOp


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    shape = Shape(dim=options.dim, heads=4, kv_heads=2, hidden=2 * options.dim)
    attends = scheduled(options.layers, options.window)
    print("\n".join(f"layer {i}: {op.pattern!r}" for i, op in enumerate(attends)), "\n")
    savings(attends, shape, options.context)

    model = Decoder(shape, attends, options.context)
    text = corpus.read()
    run = train(
        model,
        text.batches(options.batch, options.context + 1, torch.Generator().manual_seed(0)),
        text.judged(8, options.context + 1),
        Budget(seconds=600, steps=options.steps),
        rate=5e-3,
        follow=lambda run: None,
        judgements=1,
    )
    (_, before), (_, after) = run.held_out[0], run.held_out[-1]
    print(f"held-out nats a byte, before: {before:.2f}, after: {after:.2f} ({run.steps} steps)")


def scheduled(layers: int, window: int, local: int = 5) -> list[AttentionOp]:
    """One op a layer, `local` sliding ones before each global one.

    Layers of a kind share their op, and with it what is planned.
    """
    sliding = attnlang.compile("stdlib:sliding_window", window=window)
    everywhere = attnlang.compile("stdlib:causal")
    return list(islice(cycle([*[sliding] * local, everywhere]), layers))


def savings(attends: Sequence[AttentionOp], shape: Shape, context: int) -> None:
    """Attention's work and cache, against a decoder that looks everywhere in every layer."""
    reports = [
        op.pattern.explain({"n": context}, shape.heads, shape.head_dim).report for op in attends
    ]
    work = sum(r.pairs.count or 0 for r in reports)
    dense = len(attends) * context * (context + 1) // 2 * shape.heads
    cached = sum(r.cache.tokens if r.cache else context for r in reports)
    print(f"at {context} tokens: {work / dense:.0%} of the pairs of causal attention,")
    print(f"{cached / (len(attends) * context):.0%} of the keys kept for later queries\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6, help="layers (default: 6)")
    parser.add_argument("--window", type=int, default=64, help="of sliding layers (default: 64)")
    parser.add_argument("--context", type=int, default=512, help="bytes a text (default: 512)")
    parser.add_argument("--dim", type=int, default=96, help="width (default: 96)")
    parser.add_argument("--batch", type=int, default=2, help="texts a step (default: 2)")
    parser.add_argument("--steps", type=int, default=150, help="training steps (default: 150)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
