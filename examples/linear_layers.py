"""A decoder that remembers in sums: Lightning layers, and one that reads chosen blocks.

Trains it for some steps on this machine's Python sources. Then it writes: the sums have the same
size after any number of bytes, only the routed layer keeps its keys, and what is remembered gives
the logits that the whole text gives.

    python examples/linear_layers.py
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from bytelm import corpus
from bytelm.model import Decoder, Shape, SwiGLU
from bytelm.training import Budget, train
from torch import Tensor, nn

import attnlang
from attnlang.backends.linear import State


@dataclass(frozen=True, slots=True)
class Memory:
    """What one layer keeps: sums over the past, or its keys and values."""

    sums: dict[str, State] | None = None
    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Numbers kept for each text: in sums, and in keys and values."""
        sums = sum(s.s[0].numel() for s in (self.sums or {}).values())
        return sums, sum(x[0].numel() for x in (self.keys, self.values) if x is not None)


class Mixer(nn.Module):
    """Projections to queries, keys and values, one normalisation over all heads, and a gate."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        kv_dim = shape.kv_heads * shape.head_dim
        self.query = nn.Linear(shape.dim, shape.dim, bias=False)
        self.key = nn.Linear(shape.dim, kv_dim, bias=False)
        self.value = nn.Linear(shape.dim, kv_dim, bias=False)
        self.gate = nn.Linear(shape.dim, shape.dim, bias=False)
        self.norm = nn.RMSNorm(shape.dim)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        q, k, v = (
            project(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed, memory = self.attend(q, k, v, memory)
        mixed = self.norm(mixed.transpose(1, 2).flatten(2)) * self.gate(x).sigmoid()
        return self.out(mixed), memory

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        raise NotImplementedError


class Lightning(Mixer):
    """Every head forgets at a rate of its own, the slower the deeper the layer."""

    def __init__(self, shape: Shape, layer: int, layers: int) -> None:
        super().__init__(shape)
        pattern = attnlang.load("stdlib:lightning_attention", layer=layer, layers=layers)
        self.op = pattern.compile("blocked")

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        mixed, sums = self.op(q, k, v, state=memory.sums, return_state=True)
        return mixed, Memory(sums)


class Routed(Mixer):
    """MoBA: the own block, and the past blocks whose mean keys suit the query best. Without
    positions, as the layers around it know the order."""

    def __init__(self, shape: Shape, block: int, topk: int) -> None:
        super().__init__(shape)
        self.op = attnlang.load("stdlib:moba", block=block, topk=topk).compile("blocked")

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        before = 0
        if memory.keys is not None and memory.values is not None:
            before = memory.keys.shape[2]
            k, v = torch.cat((memory.keys, k), 2), torch.cat((memory.values, v), 2)
        return self.op(q, k, v, q_offset=before), Memory(None, k, v)


class Layer(nn.Module):
    """Attention, then feed-forward, each beside a residual path."""

    def __init__(self, shape: Shape, mixer: Mixer) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = nn.RMSNorm(shape.dim), mixer
        self.feed_norm, self.feed = nn.RMSNorm(shape.dim), SwiGLU(shape)

    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        mixed, memory = self.mixer(self.mixer_norm(x), memory)
        x = x + mixed
        return x + self.feed(self.feed_norm(x)), memory


class Remembering(Decoder):
    """Bytes in, logits of the next byte out, and what to remember of them."""

    def __init__(self, shape: Shape, layers: int, block: int, topk: int, context: int) -> None:
        super().__init__(shape, [], context)
        mixers: list[Mixer] = [Lightning(shape, i, layers) for i in range(layers)]
        mixers[layers // 2] = Routed(shape, block, topk)
        self.layers = nn.ModuleList(Layer(shape, mixer) for mixer in mixers)
        self.reset_parameters()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.advance(tokens, None)[0]

    def advance(self, tokens: Tensor, past: list[Memory] | None) -> tuple[Tensor, list[Memory]]:
        """Logits ``[batch, tokens, vocabulary]`` of bytes that follow on what is remembered."""
        x, memories = self.embed(tokens), []
        for layer, memory in zip(self.layers, past or [Memory()] * len(self.layers), strict=True):
            x, memory = layer(x, memory)
            memories.append(memory)
        return F.linear(self.norm(x), self.embed.weight), memories


@torch.no_grad()
def reread(model: Remembering, text: Tensor, prompt: int) -> tuple[float, list[tuple[int, int]]]:
    """The text at once, and its first bytes at once and the others one by one.

    How much the logits differ at most, and the sizes of what was remembered after each byte.
    """
    whole = model(text)
    logits, past = model.advance(text[:, :prompt], None)
    pieces, sizes = [logits], []
    for at in range(prompt, text.shape[1]):
        logits, past = model.advance(text[:, at : at + 1], past)
        pieces.append(logits)
        sums, keys = zip(*(memory.size for memory in past), strict=True)
        sizes.append((sum(sums), sum(keys)))
    return (torch.cat(pieces, 1) - whole).abs().max().item(), sizes


@torch.no_grad()
def write(model: Remembering, prompt: Tensor, count: int, dice: torch.Generator) -> Tensor:
    """`count` bytes after the prompt, drawn one by one; no byte is read twice."""
    logits, past = model.advance(prompt[None], None)
    found: list[Tensor] = []
    for _ in range(count):
        found.append(torch.multinomial((logits[0, -1] / 0.7).softmax(-1), 1, generator=dice))
        logits, past = model.advance(found[-1][None], past)
    return torch.cat(found)


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    shape = Shape(dim=options.dim, heads=4, kv_heads=2, hidden=2 * options.dim)
    model = Remembering(shape, options.layers, options.block, options.topk, options.context)
    text = corpus.read()
    run = train(
        model,
        text.batches(options.batch, options.context + 1, torch.Generator().manual_seed(0)),
        text.judged(4, options.context + 1),
        Budget(seconds=600, steps=options.steps),
        rate=5e-3,
        follow=lambda run: None,
        judgements=1,
    )
    (_, before), (_, after) = run.held_out[0], run.held_out[-1]
    print(f"held-out nats a byte, before: {before:.2f}, after: {after:.2f} ({run.steps} steps)")

    held_out = text.judged(1, 2 * options.context)
    difference, sizes = reread(model, held_out, options.context)
    print(f"from memory and from the whole text, logits differ by {difference:.1e} at most")
    every = 2 * shape.kv_heads * shape.head_dim * options.layers * held_out.shape[1]
    sums, keys = sizes[-1]
    print(f"after {held_out.shape[1]} bytes: {sums} numbers in sums, as after any other,")
    print(f"and {keys} in keys and values of the routed layer (of all layers: {every})")
    assert {s for s, _ in sizes} == {sums}
    written = write(model, held_out[0, : options.context], 160, torch.Generator().manual_seed(0))
    print("\n" + bytes(written.tolist()).decode("utf-8", "replace"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6, help="layers (default: 6)")
    parser.add_argument("--block", type=int, default=16, help="of the routed layer (default: 16)")
    parser.add_argument("--topk", type=int, default=4, help="blocks of a query (default: 4)")
    parser.add_argument("--context", type=int, default=256, help="bytes a text (default: 256)")
    parser.add_argument("--dim", type=int, default=96, help="width (default: 96)")
    parser.add_argument("--batch", type=int, default=4, help="texts a step (default: 4)")
    parser.add_argument("--steps", type=int, default=150, help="training steps (default: 150)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
