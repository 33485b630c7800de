"""One PyTorch process for a benchmark: waits for 'forward' or 'both' on stdin and answers with milliseconds."""

import sys
import time

import torch


def serve(forward, leaves):
    """forward() gives log-probs; 'both' is also the gradient of their sum at the leaves."""

    def run(what):
        start = time.perf_counter()
        if what == "both":
            for leaf in leaves:
                leaf.grad = None
            forward().sum().backward()
        else:
            with torch.no_grad():
                forward()
        return (time.perf_counter() - start) * 1e3

    print(torch.__version__, flush=True)
    for line in sys.stdin:
        print(run(line.strip()), flush=True)
