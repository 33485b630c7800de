"""The trainer: a transformer in numpy with a handwritten backward pass. The other process computes the loss.

Shared memory, float32: the initial parameters, then logits [rows, vocab], which the other process overwrites with their
gradient. Standard input: a line of JSON with the shapes, then "backward" lines. Standard output: "forward" lines.
"""

import json
import mmap
import sys

import numpy as np

job = json.loads(sys.stdin.readline())
B, T, H, V = (job[name] for name in ("sequences", "length", "width", "vocab"))
with open("/dev/shm/" + job["shm"], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)

at = 0


def floats(*shape):
    """The next floats of the shared memory, without a copy."""
    global at
    count = int(np.prod(shape))
    view = np.frombuffer(memory, np.float32, count, at).reshape(shape)
    at += 4 * count
    return view


params = {name: floats(*shape).copy() for name, shape in job["params"]}
logits = floats(B * T, V)
ids = np.array(job["inputIds"]).reshape(B, T)
future = np.triu(np.full((T, T), -1e9, np.float32), 1)


def forward(p):
    h0 = p["tokens"][ids] + p["positions"]
    q, k, v = h0 @ p["query"], h0 @ p["key"], h0 @ p["value"]
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(H) + future
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    h1 = h0 + weights @ v
    up = np.maximum(h1 @ p["up"], 0)
    h2 = h1 + up @ p["down"]
    return (h2 @ p["head"]).reshape(B * T, V), (h0, q, k, v, weights, h1, up, h2)


def product(a, b):
    """The gradient of a matrix that multiplies every row."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def backward(p, saved, grad_logits):
    h0, q, k, v, weights, h1, up, h2 = saved
    g = {"head": product(h2, grad_logits)}
    d2 = (grad_logits @ p["head"].T).reshape(B, T, H)
    g["down"] = product(up, d2)
    d_up = (d2 @ p["down"].T) * (up > 0)
    g["up"] = product(h1, d_up)
    d1 = d2 + d_up @ p["up"].T
    d_v = weights.transpose(0, 2, 1) @ d1
    d_weights = d1 @ v.transpose(0, 2, 1)
    d_scores = weights * (d_weights - (d_weights * weights).sum(-1, keepdims=True)) / np.sqrt(H)
    d_q, d_k = d_scores @ k, d_scores.transpose(0, 2, 1) @ q
    g["query"], g["key"], g["value"] = product(h0, d_q), product(h0, d_k), product(h0, d_v)
    d0 = d1 + d_q @ p["query"].T + d_k @ p["key"].T + d_v @ p["value"].T
    g["positions"] = d0.sum(0)
    g["tokens"] = np.zeros_like(p["tokens"])
    np.add.at(g["tokens"], ids.reshape(-1), d0.reshape(-1, H))
    return g


while True:
    logits[:], saved = forward(params)
    print("forward", flush=True)
    if sys.stdin.readline() != "backward\n":
        break
    for name, gradient in backward(params, saved, logits).items():
        params[name] -= job["rate"] * gradient
