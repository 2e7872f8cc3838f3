"""Definitions of attentions that see everything: reversed, unscaled, without softmax."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended, softmax


def ista(call: Call) -> Floats:
    """A[p, q] = alpha tanh(Q_p K_q / d) + M[p, q]; y_q sums A[p, q] x_p over p, the index of Q."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    learned, alpha = call.inputs["M"], call.inputs["alpha"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for here in range(len(k)):
            for p in range(len(q)):
                a = alpha[h] * math.tanh(float(q[p] @ k[here]) / q.shape[1]) + learned[h, p, here]
                out[b, h, here] += a * v[p]
    return out


def dependency_vit(call: Call) -> Floats:
    """Row i of the softmax says what i sends to each j; j sums what it gets."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    chosen, message = call.inputs["chosen"], call.inputs["message"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            sent = softmax([call.scale * float(q[i] @ key) for key in k])
            for j, weight in enumerate(sent):
                out[b, h, j] += weight * chosen[b, i, h] * message[b, i] * v[i]
    return out


def pam(call: Call) -> Floats:
    """Softmax over all pixels of q k, without a scale."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            out[b, h, i] = attended(q[i], list(k), list(v), 1.0)
    return out


def criss_cross(call: Call) -> Floats:
    """One softmax over a column, from which the pixel itself is left out, and its whole row."""
    height, width = call.sizes["y"], call.sizes["x"]
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for y in range(height):
            for x in range(width):
                column = [j * width + x for j in range(height) if j != y]
                seen = column + [y * width + j for j in range(width)]
                found = attended(q[y * width + x], [k[j] for j in seen], [v[j] for j in seen], 1.0)
                out[b, h, y * width + x] = found
    return out


def lama_pool(call: Call) -> Floats:
    """One query; words that are padding take no part; nothing but padding gives 0."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    pad = call.inputs.get("pad")
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        words = [j for j in range(len(k)) if pad is None or not pad[b, j]]
        if words:
            out[b, h, 0] = attended(q[0], [k[j] for j in words], [v[j] for j in words], 1.0)
    return out


def pointer_network(call: Call) -> Floats:
    """u_ij = w tanh(k_j + q_i), softmax over the places that are no padding: the distribution."""
    out = np.zeros((*call.q.shape[:3], call.k.shape[2]))
    w, pad = call.inputs["w"], call.inputs.get("pad")
    for b, h in call.rows():
        q, k, _ = call.sequence(b, h)
        places = [j for j in range(len(k)) if pad is None or not pad[b, j]]
        for i in range(len(q)):
            scores = [
                sum(w[h, c] * math.tanh(k[j, c] + q[i, c]) for c in range(k.shape[1]))
                for j in places
            ]
            out[b, h, i, places] = softmax(scores) if places else 0.0
    return out


ORACLES: dict[str, Oracle] = {
    "pointer_network": pointer_network,
    "ista": ista,
    "dependency_vit": dependency_vit,
    "pam": pam,
    "criss_cross": criss_cross,
    "lama_pool": lama_pool,
}
