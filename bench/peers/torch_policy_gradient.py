"""PyTorch's policy-gradient update: the clipped loss of token ratios with a KL term, by the mean over tokens."""

import sys

import torch
from torch_peer import milliseconds, serve

rows, width, vocab, threads = map(int, sys.argv[1:5])  # width 0: logits
entropy_coef = float(sys.argv[5])
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(1)


def uniform(*shape, scale):
    return (torch.rand(*shape, generator=generator) - 0.5) * scale


if width == 0:
    inputs, weight = uniform(rows, vocab, scale=12).requires_grad_(), None
else:
    inputs, weight = uniform(rows, width, scale=0.5).requires_grad_(), uniform(vocab, width, scale=0.5).requires_grad_()
labels = torch.randint(vocab, (rows,), generator=generator)
old_logps, ref_logps = (-torch.rand(rows, generator=generator) - 10 for _ in range(2))
advantages = uniform(rows, scale=4)
kl_coef, clip = 0.01, 0.2


def loss(first, last):
    """The part of some rows, of the mean over all."""
    here = slice(first, last)
    logits = inputs[here] if weight is None else inputs[here] @ weight.T
    if entropy_coef == 0:
        logps, entropy = -torch.nn.functional.cross_entropy(logits, labels[here], reduction="none"), 0
    else:
        all_logps = torch.log_softmax(logits, -1)
        logps = all_logps.gather(-1, labels[here, None]).squeeze(-1)
        entropy = -(all_logps.exp() * all_logps).sum(-1)
    ratio = torch.exp(logps - old_logps[here])
    policy = -torch.min(ratio * advantages[here], ratio.clamp(1 - clip, 1 + clip) * advantages[here])
    e = ref_logps[here] - logps
    return (policy + kl_coef * (torch.exp(e) - e - 1) - entropy_coef * entropy).sum() / rows


def update(chunk):
    for leaf in (inputs, weight):
        if leaf is not None:
            leaf.grad = None
    for first in range(0, rows, chunk):
        loss(first, first + chunk).backward()


# At once or in chunks, whichever is faster here.
chunks = sorted({rows, min(rows, 512), min(rows, 128)}, reverse=True)
for chunk in chunks:
    update(chunk)
best = min(chunks, key=lambda chunk: milliseconds(lambda: update(chunk)))
serve({"forwardBackward": lambda: update(best)}, uses_blas=width > 0)
