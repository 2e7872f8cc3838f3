"""Gates of heads, tokens that leave, tied projections, learned single queries, by their definitions."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, softmax, weighted
from tests.oracles.edits import causal, drawn, everything

Sees = Callable[[int, int, int], bool]


def attended(call: Call, sees: Sees) -> Floats:
    """Plain attention of every query i over the keys j with sees(batch, i, j); 0 over none."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            keys = [j for j in range(len(k)) if sees(b, i, j)]
            if keys:
                w = softmax([call.scale * float(q[i] @ k[j]) for j in keys])
                out[b, h, i] = weighted(w, [v[j] for j in keys])
    return out


def best(scores: Sequence[float], count: int) -> list[int]:
    """The places of the largest; of equal ones the first."""
    return sorted(range(len(scores)), key=lambda j: (-scores[j], j))[:count]


def order(call: Call) -> Callable[[int, int], bool]:
    return causal if call.params["causal"] else everything


def bam_moa(call: Call) -> Floats:
    """Head h is of expert h % experts; soft gates."""
    out = attended(call, lambda b, i, j: j <= i)
    for b, h in call.rows():
        for i in range(out.shape[2]):
            gates = softmax(list(call.inputs["route"][b, i]))
            out[b, h, i] *= gates[h % call.params["experts"]]
    return out


def vhr(call: Call) -> Floats:
    out = attended(call, lambda b, i, j: j <= i)
    vhd = [float(x) for x in call.inputs["vhd"]]
    for h in best(vhd, int(call.params["share"] * len(vhd))):
        out[:, h] *= call.params["alpha"]
    return out


def gtsp(call: Call) -> Floats:
    """Nodes that are left out neither ask nor are seen."""
    scores = call.inputs["score_of"]
    count = math.ceil(call.params["ratio"] * scores.shape[1])
    kept = [best([float(x) for x in row], count) for row in scores]
    out = attended(call, lambda b, i, j: i in kept[b] and j in kept[b])
    return out * call.inputs["importance"][None, :, None, None]


def vtc_cls(call: Call) -> Floats:
    """Tokens [class | patches]: the class token's row, mean over heads, on top of what there was."""
    kept = []
    for b in range(len(call.q)):
        rows = [drawn(call, b, h, everything)[0, 1:] for h in range(call.q.shape[1])]
        given = sum(rows) / len(rows) + call.inputs["relevance"][b]
        kept.append([1 + j for j in best([float(x) for x in given], call.params["keep"])])
    return attended(call, lambda b, i, j: i in kept[b])


def adaptinfer(call: Call) -> Floats:
    """Words by how much words look at them, the image by how much these look at it."""
    leave: list[list[int]] = []
    for b, image in enumerate(call.inputs["image"]):
        maps = [drawn(call, b, h, causal) for h in range(call.q.shape[1])]
        mean = sum(maps) / len(maps)
        text = [t for t in range(len(image)) if not image[t]]
        vision = [v for v in range(len(image)) if image[v]]
        words = {t: sum(mean[i, t] for i in text) for t in text}
        asked = [float(sum(words[t] * mean[t, v] for t in text)) for v in vision]
        stay = [vision[x] for x in best(asked, call.params["keep"])]
        leave.append([v for v in vision if v not in stay])
    return attended(call, lambda b, i, j: j <= i and i not in leave[b] and j not in leave[b])


def score_inject(call: Call) -> Floats:
    """S[:, F] = Z, then S[F, :] = Z transposed, then the softmax."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        place, z = call.inputs["place"][b], call.inputs["z"][b, h]
        s = np.array([[call.scale * float(x @ y) for y in k] for x in q])
        subject = [j for j in range(len(k)) if place[j] >= 0]
        for j in subject:
            s[:, j] = z[:, place[j]]
        for i in subject:
            s[i, :] = z[:, place[i]]
        for i in range(len(q)):
            out[b, h, i] = weighted(softmax(list(s[i])), v)
    return out


def minimal_symmetric(call: Call) -> Floats:
    """One projection: S = x T (x T)^T, values are the tokens."""
    out, sees = np.zeros((*call.q.shape[:3], call.v.shape[3])), order(call)
    for b, h in call.rows():
        q, _, v = call.sequence(b, h)
        for i in range(len(q)):
            keys = [j for j in range(len(q)) if sees(i, j)]
            w = softmax([call.scale * float(q[i] @ q[j]) for j in keys])
            out[b, h, i] = weighted(w, [v[j] for j in keys])
    return out


def minimal_collapsed(call: Call) -> Floats:
    """S = x W x^T, values are the tokens, which are the keys."""
    out, sees = np.zeros(call.q.shape), order(call)
    for b, h in call.rows():
        weights = drawn(call, b, h, sees)
        for i in range(len(weights)):
            out[b, h, i] = weighted(weights[i], call.sequence(b, h)[1])
    return out


def disentangled_bias(call: Call) -> Floats:
    """Q_i K_j + Q_i Kr_d(i, j) + K_j Qr_d(j, i), over the root of three head widths."""
    out, reach = np.zeros((*call.q.shape[:3], call.v.shape[3])), call.params["reach"]

    def between(i: int, j: int) -> int:
        if i - j <= -reach:
            return 0
        return 2 * reach - 1 if i - j >= reach else i - j + reach

    pad = call.inputs.get("pad")
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        keys = [j for j in range(len(k)) if pad is None or not pad[b, j]]
        for i in range(len(q)):
            s = [
                q[i] @ k[j]
                + q[i] @ call.inputs["Kr"][h, between(i, j)]
                + k[j] @ call.inputs["Qr"][h, between(j, i)]
                for j in keys
            ]
            w = softmax([float(x) / math.sqrt(3 * q.shape[1]) for x in s])
            out[b, h, i] = weighted(w, [v[j] for j in keys])
    return out


def turned(x: Floats, angles: Floats) -> Floats:
    """Features c and c + D/2 as a plane, turned by angle c."""
    half, made = len(x) // 2, x.copy()
    for c, a in enumerate(angles):
        made[c] = x[c] * math.cos(a) - x[c + half] * math.sin(a)
        made[c + half] = x[c] * math.sin(a) + x[c + half] * math.cos(a)
    return made


def st_link_se(call: Call) -> Floats:
    """Each token turned by its time, then by its place in the graph."""
    base, psi = call.params["base"], call.inputs["psi"]
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        rates = np.array([base ** (-2 * c / q.shape[1]) for c in range(q.shape[1] // 2)])
        q = np.array([turned(turned(x, t * rates), psi[b, t]) for t, x in enumerate(q)])
        k = np.array([turned(turned(x, t * rates), psi[b, t]) for t, x in enumerate(k)])
        for i in range(len(q)):
            w = softmax([call.scale * float(q[i] @ k[j]) for j in range(i + 1)])
            out[b, h, i] = weighted(w, v[: i + 1])
    return out


def attention_at(call: Call) -> Floats:
    """e_t + r_t over the words that are no padding, unscaled."""
    out, pad = np.zeros((*call.q.shape[:3], call.v.shape[3])), call.inputs.get("pad")
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        words = [t for t in range(len(k)) if pad is None or not pad[b, t]]
        if words:
            e = [float(q[0] @ k[t]) + float(call.inputs["r"][b, t]) for t in words]
            out[b, h, 0] = weighted(softmax(e), [v[t] for t in words])
    return out


def conditional_cross_attention(call: Call) -> Floats:
    """One query, that of the sample's condition, for all tokens."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        _, k, v = call.sequence(b, h)
        asked = call.inputs["E"][h, call.inputs["cond"][b]]
        out[b, h] = weighted(softmax([call.scale * float(asked @ key) for key in k]), v)
    return out


def gated_cls(call: Call) -> Floats:
    """Scores get the square of the gate, feature by feature; values once, behind."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        g = call.inputs["gate"][h]
        for i in range(len(q)):
            s = [sum(g[c] ** 2 * q[i, c] * key[c] for c in range(len(g))) for key in k]
            out[b, h, i] = g * weighted(softmax([call.scale * float(x) for x in s]), v)
    return out


ORACLES: dict[str, Oracle] = {
    oracle.__name__: oracle
    for oracle in (
        bam_moa,
        vhr,
        gtsp,
        vtc_cls,
        adaptinfer,
        score_inject,
        minimal_symmetric,
        minimal_collapsed,
        disentangled_bias,
        st_link_se,
        attention_at,
        conditional_cross_attention,
        gated_cls,
    )
}
