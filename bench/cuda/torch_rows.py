# Log-probs of rows of logits and their gradient in PyTorch, eager and compiled:
#
#   python3 bench/cuda/torch_rows.py ROWS VOCAB DTYPE   ->  JSON: milliseconds of the forward and of the backward pass
#
# The forward pass is a gather of log_softmax, written so that torch.compile can fuse it.
import json
import sys

import torch

rows, vocab, dtype = int(sys.argv[1]), int(sys.argv[2]), getattr(torch, sys.argv[3])
logits = torch.empty(rows, vocab, dtype=dtype, device="cuda").normal_(0, 3)
labels = torch.randint(vocab, (rows,), device="cuda")
grad = torch.ones(rows, device="cuda")


def logps(x):
    z = x.float()
    return z.gather(1, labels[:, None]).squeeze(1) - z.logsumexp(1)


def median_ms(operation, runs=21):
    for _ in range(3):
        operation()
    times = []
    for _ in range(runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        operation()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[runs // 2]


def measure(function):
    with torch.no_grad():
        forward = median_ms(lambda: function(logits))
    x = logits.detach().requires_grad_()
    result = function(x)
    backward = median_ms(lambda: torch.autograd.grad(result, x, grad, retain_graph=True))
    return {"forwardMs": forward, "backwardMs": backward}


print(json.dumps({"torch": torch.__version__, "eager": measure(logps), "compiled": measure(torch.compile(logps))}))
