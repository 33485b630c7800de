"""The training step of bench/run.js with PyTorch's own loss: the same trunk and optimizer, logits and their gradients by autograd.

Reads {"model", "dtype", "threads", "ids", "sequenceOffsets", "rows", "labels", "turnOffsets", "refLogps"} on the first line; then each
line is a step, answered by its seconds. The loss is that of criticUpdate: pairs (0, 1), (2, 3), ... of sequences with one turn each,
-log sigmoid(beta (mean advantage of the chosen - that of the rejected)), advantages = log-probs - refLogps.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import trainer  # noqa: E402

trainer.avoid_spinning()
spec = json.loads(sys.stdin.readline())
torch.set_num_threads(spec['threads'])
model = trainer.Model(spec['model'], torch.device('cpu'), getattr(torch, spec['dtype']), 1, None, False, False)
optimizer = trainer.AdamW(model.trained)
ids, rows, labels = (torch.tensor(spec[name]) for name in ('ids', 'rows', 'labels'))
offsets = np.array(spec['sequenceOffsets'])
turns = torch.tensor(spec['turnOffsets'])
reference = torch.tensor(spec['refLogps'])


def step():
    start = time.perf_counter()
    with model.autocast():
        hidden = model.hidden(ids, offsets, rows)
        logits = F.linear(hidden, model.head)
        logps = -F.cross_entropy(logits.float(), labels, reduction='none')
    sums = torch.cat([torch.zeros(1), (logps - reference).cumsum(0)])[turns].diff() / turns.diff()
    loss = -F.logsigmoid(0.1 * (sums[0::2] - sums[1::2])).mean()
    loss.backward()
    norm = trainer.norm_of(parameter.grad for parameter in model.trained.values())
    optimizer.step(1e-5, min(1.0, 1 / (norm + 1e-6)))
    return time.perf_counter() - start, loss.item()


print(json.dumps('ready'), flush=True)
for _ in sys.stdin:
    print(json.dumps(step()), flush=True)
