# The linear head and the critic's update in PyTorch, eager and compiled:
#
#   python3 bench/cuda/torch_linear.py ROWS WIDTH VOCAB DTYPE [--device=cuda] [--runs=11]   ->  JSON
#
# Names as in timing_linear.cpp: milliseconds, TFLOP/s (2 N H V forward, 8 N H V with the gradients) and the peak of the
# memory beyond the inputs. matmul stores the logits in DTYPE; they are converted to float32 afterwards.
import argparse
import json
import time

import torch

TRAJECTORIES, TURNS, BETA = 8, 4, 0.1

parser = argparse.ArgumentParser(description="Times of a linear head in PyTorch, as JSON")
for name in ("rows", "width", "vocab"):
    parser.add_argument(name, type=int)
parser.add_argument("dtype", choices=("float32", "bfloat16", "float16"))
parser.add_argument("--device", default="cuda")
parser.add_argument("--runs", type=int, default=11)
args = parser.parse_args()
if min(args.rows, args.width, args.vocab, args.runs) < 1:
    parser.error("sizes and runs must be at least 1")

on_gpu = torch.device(args.device).type == "cuda"
options = {"dtype": getattr(torch, args.dtype), "device": args.device}
torch.backends.cuda.matmul.allow_tf32 = False
hidden = torch.empty(args.rows, args.width, **options).normal_().requires_grad_()
weight = torch.empty(args.vocab, args.width, **options).normal_(0, 2 / args.width**0.5).requires_grad_()
labels = torch.randint(args.vocab, (args.rows,), device=args.device)
ref_logps = torch.full((args.rows,), -9.0, device=args.device)
grad = torch.ones(args.rows, device=args.device)

# Turns of nearly equal length, TURNS per trajectory; each even trajectory is chosen, the next one rejected.
turns = TRAJECTORIES * TURNS
offsets = torch.tensor([args.rows * t // turns for t in range(turns + 1)], device=args.device)
lengths = offsets.diff()
turn_of = torch.repeat_interleave(torch.arange(turns, device=args.device), lengths)


def logps_of(hidden, weight):
    z = (hidden @ weight.T).float()
    return z.gather(1, labels[:, None]).squeeze(1) - z.logsumexp(1)


def loss_of(hidden, weight):
    ratios = (logps_of(hidden, weight) - ref_logps) / lengths[turn_of]
    scores = torch.zeros(turns, device=args.device).index_add(0, turn_of, ratios).view(TRAJECTORIES, TURNS).sum(1)
    return -torch.nn.functional.logsigmoid(BETA * (scores[0::2] - scores[1::2])).mean()


def synchronize():
    if on_gpu:
        torch.cuda.synchronize()


def median_ms(operation):
    for _ in range(3):
        operation()
    times = []
    for _ in range(args.runs):
        synchronize()
        begin = time.perf_counter()
        operation()
        synchronize()
        times.append((time.perf_counter() - begin) * 1e3)
    return sorted(times)[args.runs // 2]


def tflops(products, ms):
    return products * args.rows * args.width * args.vocab / ms * 1e-9


def timed(name, products, operation):
    ms = median_ms(operation)
    peak = None
    if on_gpu:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        operation()
        synchronize()
        peak = torch.cuda.max_memory_allocated() - before
    return {f"{name}Ms": ms, f"{name}Tflops": tflops(products, ms), f"{name}PeakBytes": peak}


def measure(logps_of, loss_of):
    def forward():
        with torch.no_grad():
            return logps_of(hidden, weight)

    def forward_backward():
        return torch.autograd.grad(logps_of(hidden, weight), (hidden, weight), grad)

    def critic_update():
        return torch.autograd.grad(loss_of(hidden, weight), (hidden, weight))

    try:
        return {
            **timed("forward", 2, forward),
            **timed("forwardBackward", 8, forward_backward),
            **timed("criticUpdate", 8, critic_update),
        }
    except RuntimeError as error:  # usually out of memory
        return {"error": str(error).split("\n")[0]}


def multiply():
    with torch.no_grad():
        return hidden @ weight.T


gemm_ms = median_ms(multiply)
compiled = measure(torch.compile(logps_of), torch.compile(loss_of)) if hasattr(torch, "compile") else None
print(
    json.dumps(
        {
            "torch": torch.__version__,
            "gemmMs": gemm_ms,
            "gemmTflops": tflops(2, gemm_ms),
            "eager": measure(logps_of, loss_of),
            "compiled": compiled,
        }
    )
)
