"""PyTorch's matmul and log_softmax on hidden states."""

import sys

import torch
from torch_peer import passes, serve

rows, width, vocab = map(int, sys.argv[1:4])
dtype = getattr(torch, sys.argv[4])
torch.set_num_threads(int(sys.argv[5]))
generator = torch.Generator().manual_seed(1)
hidden = ((torch.rand(rows, width, generator=generator) - 0.5) / 2).to(dtype).requires_grad_()
weight = ((torch.rand(vocab, width, generator=generator) - 0.5) / 2).to(dtype).requires_grad_()
labels = torch.randint(vocab, (rows, 1), generator=generator)


def forward():
    return torch.log_softmax((hidden @ weight.T).float(), -1).gather(-1, labels)


# PyTorch multiplies bfloat16 by oneDNN instead.
serve(passes(forward, [hidden, weight]), uses_blas=dtype == torch.float32)
