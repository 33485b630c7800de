"""Independent float64 computations of the tests, written from the architectures' definitions; they share no code with trainer.py.

    ["make", FOLDER, SEED]                       random float32 weights for FOLDER/config.json
    ["logits", FOLDER, IDS.json, OUT.json]       NumPy, token by token and head by head
    ["gradients", SPEC.json, OUT.safetensors]    PyTorch float64 with autograd
"""
import json
import math
import os
import struct
import sys

import numpy as np


def save(path, tensors):
    header, at = {}, 0
    for name, array in tensors.items():
        size = array.astype('<f4').nbytes
        header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array, '<f4').tobytes())


def load(path):
    with open(path, 'rb') as file:
        data = file.read()
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop('__metadata__', None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        tensors[name] = np.frombuffer(data[begin:end], '<f4').reshape(entry['shape']).astype(np.float64)
    return tensors


def head_size(c):
    return c.get('head_dim') or c['hidden_size'] // c['num_attention_heads']


def make(folder, seed):
    c = json.load(open(os.path.join(folder, 'config.json')))
    rng = np.random.default_rng(seed)
    H, M, V, D = c['hidden_size'], c['intermediate_size'], c['vocab_size'], head_size(c)
    A, K = c['num_attention_heads'], c['num_key_value_heads']
    kind = c['model_type']
    qkv_bias = kind == 'qwen2' or c.get('attention_bias', False)
    matrix = lambda rows, columns: rng.normal(size=(rows, columns)) / math.sqrt(columns)
    norm = lambda size: 1 + 0.3 * rng.normal(size=size)
    tensors = {'model.embed_tokens.weight': rng.normal(size=(V, H)) * (0.3 if c.get('tie_word_embeddings') else 1)}
    for i in range(c['num_hidden_layers']):
        for module, rows, columns, bias in (
            ('self_attn.q_proj', A * D, H, qkv_bias),
            ('self_attn.k_proj', K * D, H, qkv_bias),
            ('self_attn.v_proj', K * D, H, qkv_bias),
            ('self_attn.o_proj', H, A * D, c.get('attention_bias', False)),
            ('mlp.gate_proj', M, H, c.get('mlp_bias', False)),
            ('mlp.up_proj', M, H, c.get('mlp_bias', False)),
            ('mlp.down_proj', H, M, c.get('mlp_bias', False)),
        ):
            tensors[f'model.layers.{i}.{module}.weight'] = matrix(rows, columns)
            if bias:
                tensors[f'model.layers.{i}.{module}.bias'] = 0.3 * rng.normal(size=rows)
        if kind == 'qwen3':
            for name in ('q_norm', 'k_norm'):
                tensors[f'model.layers.{i}.self_attn.{name}.weight'] = norm(D)
        for name in ('input_layernorm', 'post_attention_layernorm'):
            tensors[f'model.layers.{i}.{name}.weight'] = norm(H)
    tensors['model.norm.weight'] = norm(H)
    if not c.get('tie_word_embeddings'):
        tensors['lm_head.weight'] = matrix(V, H)
    save(os.path.join(folder, 'model.safetensors'), tensors)


def frequency(c, i):
    """The angle of one position in the i-th plane of a head."""
    scaling = c.get('rope_scaling') or {}
    f = 1 / c['rope_theta'] ** (2 * i / head_size(c))
    kind = scaling.get('rope_type', 'default')
    if kind == 'linear':
        return f / scaling['factor']
    if kind == 'llama3':
        wavelength = 2 * math.pi / f
        old = scaling['original_max_position_embeddings']
        if wavelength < old / scaling['high_freq_factor']:
            return f
        if wavelength > old / scaling['low_freq_factor']:
            return f / scaling['factor']
        s = (old / wavelength - scaling['low_freq_factor']) / (scaling['high_freq_factor'] - scaling['low_freq_factor'])
        return (1 - s) * f / scaling['factor'] + s * f
    return f


def numpy_logits(c, w, ids):
    """[L, V] of one sequence."""
    D, A, K = head_size(c), c['num_attention_heads'], c['num_key_value_heads']

    def norm(x, weight):
        return x / math.sqrt(sum(v * v for v in x) / len(x) + c['rms_norm_eps']) * weight

    def linear(name, x):
        y = w[f'{name}.weight'] @ x
        return y + w[f'{name}.bias'] if f'{name}.bias' in w else y

    def turn(x, position):
        y = x.copy()
        for i in range(D // 2):
            angle = position * frequency(c, i)
            a, b = x[i], x[i + D // 2]
            y[i] = a * math.cos(angle) - b * math.sin(angle)
            y[i + D // 2] = a * math.sin(angle) + b * math.cos(angle)
        return y

    states = [w['model.embed_tokens.weight'][token] for token in ids]
    for layer in range(c['num_hidden_layers']):
        at = f'model.layers.{layer}.'
        has_rope = c['model_type'] != 'smollm3' or c['no_rope_layers'][layer] == 1
        keys, values, following = [], [], []
        for position, state in enumerate(states):
            x = norm(state, w[f'{at}input_layernorm.weight'])
            q, k, v = (linear(f'{at}self_attn.{name}_proj', x).reshape(-1, D) for name in 'qkv')
            if c['model_type'] == 'qwen3':
                q = np.array([norm(row, w[f'{at}self_attn.q_norm.weight']) for row in q])
                k = np.array([norm(row, w[f'{at}self_attn.k_norm.weight']) for row in k])
            if has_rope:
                q, k = (np.array([turn(row, position) for row in rows]) for rows in (q, k))
            keys.append(k)
            values.append(v)
            heads = []
            for a in range(A):
                kv = a // (A // K)
                scores = np.array([q[a] @ key[kv] / math.sqrt(D) for key in keys])
                p = np.exp(scores - scores.max())
                p /= p.sum()
                heads.append(sum(share * value[kv] for share, value in zip(p, values)))
            state = state + linear(f'{at}self_attn.o_proj', np.concatenate(heads))
            y = norm(state, w[f'{at}post_attention_layernorm.weight'])
            gate = linear(f'{at}mlp.gate_proj', y)
            following.append(state + linear(f'{at}mlp.down_proj', gate / (1 + np.exp(-gate)) * linear(f'{at}mlp.up_proj', y)))
        states = following
    head = w.get('lm_head.weight', w['model.embed_tokens.weight'])
    return np.array([head @ norm(state, w['model.norm.weight']) for state in states])


def torch_logps(c, w, adapter, scale, ids):
    """[L - 1] of one sequence, differentiable in the tensors of w and adapter."""
    import torch

    D, A, K, L = head_size(c), c['num_attention_heads'], c['num_key_value_heads'], len(ids)

    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + c['rms_norm_eps']).sqrt() * w[name]

    def linear(module, x):
        weight = w[f'{module}.weight']
        key = f'base_model.model.{module}.lora_'
        if f'{key}A.weight' in adapter:
            weight = weight + scale * adapter[f'{key}B.weight'] @ adapter[f'{key}A.weight']
        y = x @ weight.T
        return y + w[f'{module}.bias'] if f'{module}.bias' in w else y

    angles = torch.tensor([[p * frequency(c, i) for i in range(D // 2)] for p in range(L)], dtype=torch.float64)
    rotation = torch.polar(torch.ones_like(angles), angles)

    def turn(x):  # [L, heads, D] as complex numbers x_i + j x_{i + D/2}
        z = torch.complex(x[..., : D // 2], x[..., D // 2 :]) * rotation[:, None]
        return torch.cat((z.real, z.imag), -1)

    x = w['model.embed_tokens.weight'][torch.tensor(ids)]
    causal = torch.full((L, L), -math.inf, dtype=torch.float64).triu(1)
    for layer in range(c['num_hidden_layers']):
        at = f'model.layers.{layer}.'
        y = norm(x, f'{at}input_layernorm.weight')
        q, k, v = (linear(f'{at}self_attn.{name}_proj', y).view(L, -1, D) for name in 'qkv')
        if c['model_type'] == 'qwen3':
            q, k = norm(q, f'{at}self_attn.q_norm.weight'), norm(k, f'{at}self_attn.k_norm.weight')
        if c['model_type'] != 'smollm3' or c['no_rope_layers'][layer] == 1:
            q, k = turn(q), turn(k)
        k, v = (z.repeat_interleave(A // K, 1) for z in (k, v))
        p = torch.softmax(torch.einsum('iad,jad->aij', q, k) / math.sqrt(D) + causal, -1)
        x = x + linear(f'{at}self_attn.o_proj', torch.einsum('aij,jad->iad', p, v).reshape(L, -1))
        y = norm(x, f'{at}post_attention_layernorm.weight')
        gate = linear(f'{at}mlp.gate_proj', y)
        x = x + linear(f'{at}mlp.down_proj', gate * torch.sigmoid(gate) * linear(f'{at}mlp.up_proj', y))
    logits = norm(x, 'model.norm.weight') @ w.get('lm_head.weight', w['model.embed_tokens.weight']).T
    return torch.log_softmax(logits, -1)[torch.arange(L - 1), torch.tensor(ids[1:])]


def policy_gradient_of(spec, logps):
    """The clipped loss of GRPO and GiGPO; the references are the policy before the training."""
    import torch

    low, high = 1 - spec['clipLow'], 1 + spec['clipHigh']
    losses = []  # of each sequence, of each token
    for k, turns in enumerate(logps):
        tokens = []
        for turn, old, advantage in zip(turns, spec['references'][k], spec['advantages'][k]):
            difference = turn - torch.tensor(old, dtype=torch.float64)
            ratio = torch.exp(difference)
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
            k3 = torch.exp(-difference) + difference - 1
            # The library's bound of the divergence, with gradient 0 beyond.
            tokens.append(-surrogate + spec['klCoef'] * k3.clamp(max=10))
        losses.append(torch.cat(tokens))
    if spec['reduction'] == 'token-mean':
        return torch.cat(losses).mean()
    mean = spec['reduction'] == 'sequence-mean-token-mean'
    return sum(loss.mean() if mean else loss.sum() for loss in losses) / len(losses)


def loss_of(spec, logps):
    """logps and references: of each sequence, a list of the log-probs of each turn."""
    import torch

    if spec['method'] in ('grpo', 'gigpo'):
        return policy_gradient_of(spec, logps)

    def advantages(k):
        return [turn - torch.tensor(ref, dtype=torch.float64) for turn, ref in zip(logps[k], spec['references'][k])]

    def score(k):
        turns = advantages(k)
        rule = spec['normalization'] if spec['method'] == 'critic' else 'sum'
        if rule == 'turn-mean':
            return sum(turn.mean() for turn in turns)
        if rule == 'token-mean':
            return torch.cat(turns).mean()
        return sum(turn.sum() for turn in turns)

    chosen = [k for k, _ in spec['pairs']]
    tokens = sum(len(turn) for k in chosen for turn in logps[k])
    nll = -sum(turn.sum() for k in chosen for turn in logps[k]) / tokens
    if spec['method'] == 'sft':
        return nll
    pairs = [-torch.nn.functional.logsigmoid(spec['beta'] * (score(a) - score(b))) for a, b in spec['pairs']]
    return sum(pairs) / len(pairs) + spec['nllCoef'] * nll


def gradients(spec, out):
    import torch

    folder = spec['model']
    c = json.load(open(os.path.join(folder, 'config.json')))
    tensors = lambda path: {name: torch.tensor(array, requires_grad=True) for name, array in load(path).items()}
    w, adapter, scale = tensors(os.path.join(folder, 'model.safetensors')), {}, 0
    if spec.get('adapter'):
        config = json.load(open(os.path.join(spec['adapter'], 'adapter_config.json')))
        adapter = tensors(os.path.join(spec['adapter'], 'adapter_model.safetensors'))
        scale = config['lora_alpha'] / config['r']
    logps = []
    for sequence in spec['sequences']:
        # Parts that do not attend to each other are sequences of their own; the first token of each has no log-prob.
        bounds = [0, *sequence['starts'], len(sequence['ids'])]
        parts = [
            torch.cat((torch.zeros(1, dtype=torch.float64), torch_logps(c, w, adapter, scale, sequence['ids'][begin:end])))
            for begin, end in zip(bounds, bounds[1:])
        ]
        all_logps = torch.cat(parts)[1:]
        logps.append([all_logps[start - 1 : end - 1] for start, end in sequence['turns']])
    loss = loss_of(spec, logps)
    loss.backward()
    trained = adapter or w
    # float64 bits would not fit F32: the high part and the rest.
    result = {}
    for name, tensor in trained.items():
        grad = tensor.grad.numpy()
        high = grad.astype(np.float32)
        result[name] = high
        result[f'{name}#rest'] = (grad - high).astype(np.float32)
    result['loss'] = np.array([loss.item()], np.float32)
    save(out, result)


def run(command, *args):
    if command == 'make':
        make(args[0], int(args[1]))
    elif command == 'logits':
        c = json.load(open(os.path.join(args[0], 'config.json')))
        w = load(os.path.join(args[0], 'model.safetensors'))
        sequences = json.load(open(args[1]))
        json.dump([numpy_logits(c, w, ids).tolist() for ids in sequences], open(args[2], 'w'))
    elif command == 'gradients':
        gradients(json.load(open(args[0])), args[1])
    else:
        raise ValueError(f'unknown command {command}')


def main():
    """One command a line, a JSON list; the answer is a line, "" or what went wrong. One process: importing torch takes seconds."""
    for line in sys.stdin:
        try:
            run(*json.loads(line))
            print(json.dumps(''), flush=True)
        except Exception as error:
            print(json.dumps(repr(error)), flush=True)


if __name__ == '__main__':
    main()
