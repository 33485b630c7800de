"""PyTorch's log_softmax on the same rows of logits."""

import sys

import torch
from torch_peer import passes, serve

rows, vocab, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(1)
logits = (torch.rand(rows, vocab, generator=generator) * 12 - 6).requires_grad_()
labels = torch.randint(vocab, (rows, 1), generator=generator)

serve(passes(lambda: torch.log_softmax(logits, -1).gather(-1, labels), [logits]), uses_blas=False)
