"""PyTorch's matmul and log_softmax on hidden states: waits for 'forward' or 'both' and answers with milliseconds."""

import sys
import time

import torch

rows, width, vocab = map(int, sys.argv[1:4])
dtype = getattr(torch, sys.argv[4])
torch.set_num_threads(int(sys.argv[5]))
generator = torch.Generator().manual_seed(1)
hidden = ((torch.rand(rows, width, generator=generator) - 0.5) / 2).to(dtype).requires_grad_()
weight = ((torch.rand(vocab, width, generator=generator) - 0.5) / 2).to(dtype).requires_grad_()
labels = torch.randint(vocab, (rows, 1), generator=generator)


def forward():
    return torch.log_softmax((hidden @ weight.T).float(), -1).gather(-1, labels)


def run(what):
    start = time.perf_counter()
    if what == "both":
        hidden.grad = weight.grad = None
        forward().sum().backward()
    else:
        with torch.no_grad():
            forward()
    return (time.perf_counter() - start) * 1e3


print(torch.__version__, flush=True)
for line in sys.stdin:
    print(run(line.strip()), flush=True)
