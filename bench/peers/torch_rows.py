"""PyTorch on the same rows: waits for 'forward' or 'both' on stdin and answers with milliseconds."""

import sys
import time

import torch

rows, vocab, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(1)
logits = (torch.rand(rows, vocab, generator=generator) * 12 - 6).requires_grad_()
labels = torch.randint(vocab, (rows, 1), generator=generator)


def forward():
    return torch.log_softmax(logits, -1).gather(-1, labels)


def run(what):
    start = time.perf_counter()
    if what == "both":
        logits.grad = None
        forward().sum().backward()
    else:
        with torch.no_grad():
            forward()
    return (time.perf_counter() - start) * 1e3


print(torch.__version__, flush=True)
for line in sys.stdin:
    print(run(line.strip()), flush=True)
