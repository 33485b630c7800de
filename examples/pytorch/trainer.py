"""A transformer in PyTorch: forward, backward and optimizer. The other process computes the critic's update.

The processes share four float32 tensors: the last hidden states [N, H], the weight [V, H] of the linear head, and their
gradients, which the other process writes. Everything else is sent as lines of JSON over standard input and output.
"""

import json
import math
import sys

import torch

receive = lambda: json.loads(sys.stdin.readline() or sys.exit("the other process exited"))
send = lambda message: print(json.dumps(message), flush=True)

job = receive()
device = job["device"]
B, T, H, V = (job[name] for name in ("sequences", "length", "width", "vocab"))


def shared(name, *shape):
    """A tensor whose memory another process can open, and the handle of that memory."""
    bytes = 4 * math.prod(shape)
    if device == "cpu":
        file = f"{job['name']}-{name}"
        tensor = torch.from_file("/dev/shm/" + file, shared=True, size=bytes // 4, dtype=torch.float32)
        return tensor.view(shape), {"shm": file}
    tensor = torch.zeros(shape, device=device)
    index, handle, _, offset, *_ = tensor.untyped_storage()._share_cuda_()
    # Newer versions of PyTorch put a version and a kind before CUDA's 64 bytes.
    if len(handle) > 64 and handle[1:2] != b"c":
        sys.exit("this memory has no CUDA IPC handle: unset PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True")
    offset += 4 * tensor.storage_offset()
    return tensor, {"handle": list(handle[-64:]), "device": index, "byteOffset": offset, "byteLength": bytes}


def tensor(values, shape=(-1,), dtype=torch.float32):
    return torch.tensor(values, dtype=dtype).reshape(shape).to(device)


tensors = {
    name: shared(name, *shape)
    for name, shape in {"hidden": (B * T, H), "weight": (V, H), "gradHidden": (B * T, H), "gradWeight": (V, H)}.items()
}
send({name: memory for name, (_, memory) in tensors.items()})
hidden, weight, grad_hidden, grad_weight = (tensor for tensor, _ in tensors.values())

params = {name: tensor(values, shape).requires_grad_() for name, (shape, values) in job["params"].items()}
weight.copy_(params.pop("head").detach().T)
params["weight"] = weight.requires_grad_()
optimizer = torch.optim.SGD(params.values(), lr=job["rate"])
ids = tensor(job["inputIds"], (B, T), torch.long)
future = torch.full((T, T), -1e9, device=device).triu(1)


def last_hidden(p):
    h = p["tokens"][ids] + p["positions"]
    scores = (h @ p["query"]) @ (h @ p["key"]).transpose(1, 2) / math.sqrt(H) + future
    h = h + scores.softmax(-1) @ (h @ p["value"])
    return (h + (h @ p["up"]).relu() @ p["down"]).reshape(B * T, H)


# -- the critic's loss in PyTorch alone, in float64, to check the gradients

labels, mask = tensor(job["labels"], dtype=torch.long), tensor(job["mask"], dtype=torch.float64)
chosen, rejected = tensor(job["chosen"], dtype=torch.long), tensor(job["rejected"], dtype=torch.long)


def logps_of(hidden, weight):
    logps = (hidden @ weight.T).log_softmax(-1)
    return logps.gather(1, labels.clamp(min=0)[:, None])[:, 0]


def sums(numbers, offsets):
    return torch.stack([numbers[a:b].sum() for a, b in zip(offsets, offsets[1:])])


def critic_loss(hidden, weight, reference):
    ratios = (logps_of(hidden, weight) - reference) * mask
    means = sums(ratios, job["turnOffsets"]) / sums(mask, job["turnOffsets"])
    rewards = sums(means, job["trajectoryOffsets"])
    return -torch.nn.functional.logsigmoid(job["beta"] * (rewards[chosen] - rewards[rejected])).mean()


def difference(reference):
    """The largest difference of the gradients to autograd's, relative to the largest gradient."""
    inputs = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    loss = critic_loss(*inputs, reference)
    gradients = torch.autograd.grad(loss, inputs)
    pairs = zip((grad_hidden, grad_weight), gradients)
    return {"loss": loss.item(), "gradients": [((x - y).abs().max() / y.abs().max()).item() for x, y in pairs]}


reference = None
while True:
    body = last_hidden(params)
    with torch.no_grad():
        hidden.copy_(body)
        if reference is None:
            reference = logps_of(hidden.double(), weight.double())
    if device != "cpu":
        torch.cuda.synchronize()  # streams do not order work between processes
    send("forward")
    request = receive()
    if request == "end":
        break
    if request == "check":
        send(difference(reference))
        receive()
    weight.grad = grad_weight
    body.backward(grad_hidden)
    optimizer.step()
    optimizer.zero_grad()
