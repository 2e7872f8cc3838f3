"""Hierarchical self-attention, over trees as nested lists whose leaves are tokens."""

import math

import numpy as np
import numpy.typing as npt

from tests.oracles.composed import Call, Floats, Oracle

Node = int | list["Node"]


def leaves(node: Node) -> list[int]:
    return [node] if isinstance(node, int) else [i for child in node for i in leaves(child)]


class Scores:
    """Scores of siblings, and what stays in a node. The log-sum-exps of Amizadeh et al. (2025)."""

    def __init__(self, q: Floats, k: Floats, scale: float) -> None:
        self.q, self.k, self.scale = q, k, scale

    def between(self, a: Node, c: Node) -> float:
        """The mean score of a's queries and c's keys."""
        pairs = [float(self.q[i] @ self.k[j]) for i in leaves(a) for j in leaves(c)]
        return self.scale * sum(pairs) / len(pairs)

    def inside(self, node: Node) -> float:
        """phi: of a leaf its own score, else the mean of its children's sums, by their leaves."""
        if isinstance(node, int):
            return self.between(node, node)
        total = sum(len(leaves(a)) * self.total(a, node) for a in node)
        return total / len(leaves(node))

    def total(self, a: Node, parent: list[Node]) -> float:
        """Lambda: the log of what stays in a and of what goes to each sibling's every leaf."""
        others = [
            math.log(len(leaves(c))) + self.between(a, c) for c in parent if leaves(c) != leaves(a)
        ]
        return float(np.logaddexp.reduce([self.inside(a), *others]))

    def spread(self, node: Node, mass: float, out: Floats) -> None:
        """The weights that tokens of a node give when they have so much to give: rows of ``out``."""
        if isinstance(node, int):
            out[node, node] += mass
            return
        for a in node:
            total = self.total(a, node)
            for c in node:
                if leaves(c) != leaves(a):
                    for i in leaves(a):
                        for j in leaves(c):
                            out[i, j] += mass * math.exp(self.between(a, c) - total)
            self.spread(a, mass * math.exp(self.inside(a) - total), out)


def tree_of(parents: npt.NDArray[np.integer], slots: list[int]) -> list[Node]:
    """Groups of groups of tokens. parents: of every token, then of every group of each level.

    slots: how many tokens there are, and how many groups of each level but the last.
    """
    level: dict[int, Node] = {i: i for i in range(slots[0])}
    for count in slots:
        above: dict[int, list[Node]] = {}
        for i, node in level.items():
            above.setdefault(int(parents[i]), []).append(node)
        level, parents = dict(above), parents[count:]
    return list(level.values())


def hsa_tree(call: Call) -> Floats:
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    p = call.params
    levels = [call.q.shape[2], p["groups"], *[p["outers"]] * (p["depth"] - 1)]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        weights = np.zeros((len(q), len(k)))
        tree = tree_of(call.inputs["tree"][b], levels[:-1])
        Scores(q, k, call.scale).spread(tree, 1.0, weights)
        out[b, h] = weights @ v
    return out


ORACLES: dict[str, Oracle] = {"hsa_tree": hsa_tree}
