"""Queries that are pooled first: long queries, agents, summaries of rows."""

import math

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, attended, mean, softmax, weighted


def lquery(call: Call) -> Floats:
    """Mean of the last states that are no padding, normalised and projected, asks projected ones."""
    weights = [call.inputs[f"{n}_weights"] for n in ("query", "key", "value")]
    wq, wk, wv = weights
    pad, length = call.inputs["pad"], call.params["length"]
    out = np.zeros((*call.q.shape[:3], wv.shape[1]))
    for b, h in call.rows():
        states, k, v = (np.concatenate(list(x[b]), axis=1) for x in (call.q, call.k, call.v))
        for i in range(len(states)):
            window = [j for j in range(max(0, i - length + 1), i + 1) if not pad[b, j]]
            recent = mean([states[j] for j in window]) if window else np.zeros(states.shape[1])
            centred = recent - sum(recent) / len(recent)
            normed = centred / math.sqrt(sum(x * x for x in centred) / len(centred) + 1e-5)
            seen = [j for j in range(i + 1) if not pad[b, j]]
            if seen:
                keys, values = [wk[h] @ k[j] for j in seen], [wv[h] @ v[j] for j in seen]
                out[b, h, i] = attended(wq[h] @ normed, keys, values, 1 / math.sqrt(wq.shape[1]))
    return out


def stretched(table: Floats, height: int, width: int) -> Floats:
    """A 7 x 7 table resized bilinearly, half-pixel centres, as torch's interpolate has it."""
    made = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y, x = ((a + 0.5) * 7 / n - 0.5 for a, n in ((i, height), (j, width)))
            y, x = max(y, 0.0), max(x, 0.0)
            for a in (math.floor(y), math.floor(y) + 1):
                for c in (math.floor(x), math.floor(x) + 1):
                    made[i, j] += (1 - abs(y - a)) * (1 - abs(x - c)) * table[min(a, 6), min(c, 6)]
    return made


def agent_attention(call: Call) -> Floats:
    """V_A = softmax(s A K^T + B1) V, O = softmax(s Q A^T + B2) V_A, A adaptive means of Q."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    height, width, agents = call.sizes["y"], call.sizes["x"], call.params["agents"]
    side = math.isqrt(agents)
    an, ah, aw, na, ha, wa = (call.inputs.get(n) for n in ("an", "ah", "aw", "na", "ha", "wa"))
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        asked = []
        for a in range(agents):
            rows = bin_of(a // side, side, height)
            columns = bin_of(a % side, side, width)
            asked.append(mean([q[y * width + x] for y in rows for x in columns]))
        first, second = np.zeros((agents, height, width)), np.zeros((agents, height, width))
        if an is not None and ah is not None and aw is not None:
            for a in range(agents):
                first[a] = stretched(an[h, a], height, width) + ah[h, a][:, None] + aw[h, a]
        if na is not None and ha is not None and wa is not None:
            for a in range(agents):
                second[a] = stretched(na[h, a], height, width)
                second[a] += ha[h, :, a][:, None] + wa[h, :, a]
        gathered = []
        for a in range(agents):
            scores = [call.scale * float(asked[a] @ key) for key in k]
            gathered.append(weighted(softmax(list(scores + first[a].ravel())), v))
        for i in range(len(q)):
            scores = [call.scale * float(q[i] @ agent) for agent in asked]
            weights = softmax([s + second[a].flat[i] for a, s in enumerate(scores)])
            out[b, h, i] = weighted(weights, gathered)
    return out


def agent_attention_sd(call: Call) -> Floats:
    """softmax(s' Q A^T) softmax(s A K^T) V + c V, s' = s to a power; with 2 A >= N softmax(s Q K^T) V."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    p = call.params
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        agents = call.inputs["agent"][b, h]
        for i in range(len(q)):
            if 2 * len(agents) >= len(q):
                out[b, h, i] = attended(q[i], list(k), list(v), call.scale)
                continue
            gathered = [attended(agent, list(k), list(v), call.scale) for agent in agents]
            found = attended(q[i], list(agents), gathered, call.scale ** p["k_scale2"])
            out[b, h, i] = found + p["k_shortcut"] * v[i]
    return out


def bin_of(number: int, bins: int, length: int) -> range:
    """Adaptive pooling: floor of the first edge, ceiling of the last."""
    return range(number * length // bins, math.ceil((number + 1) * length / bins))


def combiner_rowmajor(call: Call) -> Floats:
    """Keys of `joint`: N summaries, then N tokens."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    width, n = call.params["segment"], call.q.shape[2]
    joint = call.params["stage"] == "joint"
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(n):
            row, column = divmod(i, width)
            own = range(row * width, min(n, (row + 1) * width))
            seen = [n + j for j in own if j <= i] if joint else list(own)
            if joint:
                seen = [r * width + column for r in range(row)] + seen
            out[b, h, i] = attended(q[i], [k[j] for j in seen], [v[j] for j in seen], call.scale)
    return out


ORACLES: dict[str, Oracle] = {
    "lquery": lquery,
    "agent_attention": agent_attention,
    "agent_attention_sd": agent_attention_sd,
    "combiner_rowmajor": combiner_rowmajor,
}


def abc(call: Call) -> Floats:
    """K~ = softmax_j(k C_k)^T K, V~ likewise, out = softmax(q K~^T) V~; causal: over j <= i."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    key_control, value_control = call.inputs["key_control"], call.inputs["value_control"]
    pad = call.inputs.get("pad")
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        for i in range(len(q)):
            stop = i + 1 if call.params["causal"] else len(k)
            seen = [j for j in range(stop) if pad is None or not pad[b, j]]
            if not seen:
                continue
            keys = [
                weighted(softmax([float(k[j] @ c) for j in seen]), k[seen]) for c in key_control
            ]
            values = [
                weighted(softmax([float(v[j] @ c) for j in seen]), v[seen]) for c in value_control
            ]
            out[b, h, i] = attended(q[i], keys, values, call.scale)
    return out


def nystrom(call: Call) -> Floats:
    """softmax(Q K~^T) Z softmax(Q~ K^T) V, Z six steps towards the inverse of softmax(Q~ K~^T)."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    count = call.params["landmarks"]
    for b, h in call.rows():
        q, k, v = call.sequence(b, h)
        short = len(q) // count
        first = (short + 1) * count - len(q)  # so many segments are one token shorter
        sizes = [short] * first + [short + 1] * (count - first)
        starts = np.cumsum([0, *sizes])
        runs = [range(starts[m], starts[m + 1]) for m in range(count)]
        queries, keys = ([mean([x[j] for j in run]) for run in runs] for x in (q, k))

        def kernel(rows: list[Floats], columns: list[Floats]) -> Floats:
            scores = [[call.scale * float(r @ c) for c in columns] for r in rows]
            return np.array([softmax(row) for row in scores])

        middle = kernel(queries, keys)
        inverse = middle.T / (abs(middle).sum(0).max() * abs(middle).sum(1).max())
        one = np.eye(count)
        for _ in range(6):
            x = middle @ inverse
            inverse = 0.25 * inverse @ (13 * one - x @ (15 * one - x @ (7 * one - x)))
        out[b, h] = kernel(list(q), keys) @ inverse @ kernel(queries, list(k)) @ v
    return out


ORACLES |= {"abc": abc, "nystrom": nystrom}
