"""A decoder in the style of Llama, with one attention op a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlang.op import AttentionOp


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model. `kv_heads` divides `heads`: query heads share keys and values."""

    dim: int = 192
    heads: int = 6
    kv_heads: int = 2
    hidden: int = 512
    vocabulary: int = 256

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads


class Rotary(nn.Module):
    """Rotary position embedding: turns pairs of features by an angle that grows with position."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, context: int, base: float = 10_000.0) -> None:
        super().__init__()
        frequency = base ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.outer(torch.arange(context), frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Attention(nn.Module):
    """Grouped-query attention; `attend` decides which bytes see which."""

    def __init__(self, shape: Shape, attend: AttentionOp) -> None:
        super().__init__()
        kv_dim = shape.kv_heads * shape.head_dim
        self.head_dim = shape.head_dim
        self.attend = attend
        self.query = nn.Linear(shape.dim, shape.dim, bias=False)
        self.key = nn.Linear(shape.dim, kv_dim, bias=False)
        self.value = nn.Linear(shape.dim, kv_dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        q, k, v = (self.heads(project(x)) for project in (self.query, self.key, self.value))
        mixed = self.attend(rotary(q), rotary(k), v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def heads(self, x: Tensor) -> Tensor:
        """``[batch, tokens, heads * head_dim]`` as ``[batch, heads, tokens, head_dim]``."""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class SwiGLU(nn.Module):
    """The feed-forward layer: one projection gates another."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.up = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """Attention, then feed-forward, each beside a residual path."""

    def __init__(self, shape: Shape, attend: AttentionOp) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.dim)
        self.attention = Attention(shape, attend)
        self.feed_norm = nn.RMSNorm(shape.dim)
        self.feed = SwiGLU(shape)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotary)
        return x + self.feed(self.feed_norm(x))


class Decoder(nn.Module):
    """Bytes in, logits of the next byte out. One layer for each op in `attends`."""

    def __init__(self, shape: Shape, attends: Sequence[AttentionOp], context: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocabulary, shape.dim)
        self.rotary = Rotary(shape.head_dim, context)
        self.layers = nn.ModuleList(Layer(shape, attend) for attend in attends)
        self.norm = nn.RMSNorm(shape.dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small weights; those that write to the residual path smaller with depth."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                depth = 2 * len(self.layers) if name.endswith("out.weight") else 1
                nn.init.normal_(weight, std=0.02 / depth**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[batch, tokens]`` of bytes to ``[batch, tokens, vocabulary]`` of logits."""
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, self.rotary)
        return F.linear(self.norm(x), self.embed.weight)

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy, in nats a byte, of every byte given those before it."""
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    @torch.no_grad()
    def write(
        self, prompt: Tensor, count: int, temperature: float, dice: torch.Generator
    ) -> Tensor:
        """`count` more bytes after the prompt, drawn one by one.

        The model always sees as many bytes as the prompt has, so attention is planned once.
        """
        text, room = prompt, len(prompt)
        for _ in range(count):
            logits = self(text[None, -room:])[0, -1]
            chances = (logits / temperature).softmax(dim=-1)
            text = torch.cat((text, torch.multinomial(chances, 1, generator=dice)))
        return text[room:]
