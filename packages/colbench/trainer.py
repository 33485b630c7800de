"""The model of a training run: a Hugging Face model folder in PyTorch, driven by Node.

Node sends one request a line (JSON) on file descriptor 3 and reads the answers from file descriptor 4; prints on stdout and
stderr harm nothing. The head's losses and their gradients are computed by Node: `forward` writes hidden states into memory that
both map, Node writes gradHidden and gradWeight, `backward` continues from gradHidden.

    hello -> buffers -> (forward, backward)* -> step -> ... -> save -> end
    hello -> sample*

Shapes: N tokens of S packed sequences, R scored rows, H hidden size, V vocabulary, A attention heads, K key/value heads,
D head size, L longest sequence of a group, r rank of LoRA.

Needs Python >= 3.8, torch >= 1.13 and numpy. Sections: errors, safetensors, configuration, model, sampling, optimizer, requests.
"""
import contextlib
import hashlib
import json
import math
import mmap
import os
import queue
import re
import struct
import sys
import threading

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.checkpoint

PROTOCOL = 1


# --- errors ----------------------------------------------------------------------------------------------------------------------


class TrainerError(Exception):
    """What Node shows: a code, a message and where (a field, a tensor, a request)."""

    def __init__(self, code, message, where=None):
        super().__init__(message)
        self.code, self.message, self.where = code, message, where


def out_of_memory(error, device):
    """ERR_OOM for an allocation that failed, None for any other error."""
    text = str(error)
    is_oom = isinstance(error, MemoryError) or 'out of memory' in text or "can't allocate memory" in text
    if not is_oom:
        return None
    asked = re.search(r'allocate ([\d.]+ ?(?:bytes|[KMGT]iB|[KMGT]B))', text)
    wanted = f'{asked.group(1)} asked, ' if asked else ''
    hint = '--micro-tokens, --checkpointing and --lora lower it; sharded optimizer states are not implemented'
    return TrainerError('ERR_OOM', f'Out of memory: {wanted}{free_memory(device)} bytes free; {hint}')


def free_memory(device):
    """Bytes that an allocation can get."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    with open('/proc/meminfo') as meminfo:
        return 1024 * int(re.search(r'MemAvailable: *(\d+)', meminfo.read()).group(1))


# --- safetensors: 8 bytes little-endian header length, JSON header, data ---------------------------------------------------------

DTYPES = {'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16}
SIZES = {'F32': 4, 'F16': 2, 'BF16': 2}
MAX_SHARD_BYTES = 5 * 10**9


class SafetensorsFile:
    """A memory-mapped file; its tensors are views whose pages are read on first use."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, 'rb') as file:
                # A private mapping: torch wants writable memory, and nothing is written to the file.
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise TrainerError('ERR_MODEL', f'{path} cannot be read: {error}', path)
        length = struct.unpack('<Q', self.map[:8])[0] if len(self.map) >= 8 else len(self.map)
        if length > len(self.map) - 8:
            raise TrainerError('ERR_MODEL', f'{path} ends before its header does', path)
        self.start = 8 + length
        self.header_bytes = self.map[: self.start]
        try:
            self.entries = json.loads(self.map[8 : self.start])
            self.metadata = self.entries.pop('__metadata__', {})
            for name, entry in self.entries.items():
                self.check(name, entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TrainerError('ERR_MODEL', f'{path} has no valid header: {error}', path)

    def check(self, name, entry):
        if entry['dtype'] not in SIZES:
            raise TrainerError('ERR_MODEL', f'{name} has the dtype {entry["dtype"]}; F32, F16 and BF16 are read', name)
        begin, end = entry['data_offsets']
        if not all(isinstance(size, int) and size >= 0 for size in entry['shape']):
            raise TrainerError('ERR_MODEL', f'{name} has the shape {entry["shape"]}', name)
        if not 0 <= begin <= end <= len(self.map) - self.start or end - begin != self.size(entry):
            raise TrainerError('ERR_MODEL', f'{name} has data_offsets {begin}, {end} that do not fit its shape or {self.path}', name)

    @staticmethod
    def size(entry):
        return SIZES[entry['dtype']] * math.prod(entry['shape'])

    def tensor(self, name):
        entry = self.entries[name]
        count = math.prod(entry['shape'])
        offset = self.start + entry['data_offsets'][0]
        if count == 0:
            return torch.empty(entry['shape'], dtype=DTYPES[entry['dtype']])
        return torch.frombuffer(self.map, dtype=DTYPES[entry['dtype']], count=count, offset=offset).view(entry['shape'])


def write_safetensors(path, tensors, metadata=None, header_bytes=None):
    """Writes (name, tensor) in order and returns {name, bytes, sha256}; `header_bytes` repeats the header of a file with this layout."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    if header_bytes is None:
        header, at = {'__metadata__': metadata} if metadata else {}, 0
        for name, tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            header[name] = {'dtype': names[tensor.dtype], 'shape': list(tensor.shape), 'data_offsets': [at, at + size]}
            at += size
        text = json.dumps(header, separators=(',', ':')).encode()
        text += b' ' * (-len(text) % 8)
        header_bytes = struct.pack('<Q', len(text)) + text
    digest, total = hashlib.sha256(), 0
    with open(path, 'wb') as file:
        for part in [header_bytes] + [tensor for _, tensor in tensors]:
            data = part if isinstance(part, bytes) else raw_bytes(part)
            file.write(data)
            digest.update(data)
            total += len(data)
        file.flush()
        os.fsync(file.fileno())
    return {'name': os.path.basename(path), 'bytes': total, 'sha256': digest.hexdigest()}


def raw_bytes(tensor):
    flat = tensor.detach().to('cpu').contiguous().view(-1)
    return flat.view(torch.int16 if flat.element_size() == 2 else torch.int32).numpy().data.cast('B')


def read_json(path):
    try:
        with open(path, encoding='utf-8') as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise TrainerError('ERR_MODEL', f'{path} cannot be read: {error}', path)
    if not isinstance(value, dict):
        raise TrainerError('ERR_MODEL', f'{path} holds no object', path)
    return value


def open_tensors(folder, stem):
    """The files of `<stem>.safetensors`, or of the shards of its index, and the file of each tensor."""
    index_path = os.path.join(folder, f'{stem}.safetensors.index.json')
    if os.path.exists(index_path):
        weight_map = read_json(index_path).get('weight_map', {})
        if not isinstance(weight_map, dict) or not weight_map or any(not isinstance(p, str) or p != os.path.basename(p) for p in weight_map.values()):
            raise TrainerError('ERR_MODEL', f'{index_path}: weight_map must give each tensor the name of a file in the folder', 'weight_map')
        paths = sorted(set(weight_map.values()))
    else:
        weight_map, paths = None, [f'{stem}.safetensors']
    files = [SafetensorsFile(os.path.join(folder, path)) for path in paths]
    owner = {}
    for file in files:
        for name in file.entries:
            if name in owner:
                raise TrainerError('ERR_MODEL', f'{name} is in {owner[name].path} and in {file.path}', name)
            owner[name] = file
    for name in weight_map or ():
        if name not in owner:
            raise TrainerError('ERR_MODEL', f'{name} is missing: {index_path} places it in {weight_map[name]}', name)
    return files, owner


# --- configuration -----------------------------------------------------------------------------------------------------------

MAX_LAYERS = 10_000
ARCHITECTURES = ('llama', 'qwen2', 'qwen3', 'mistral', 'smollm3')


class Config:
    """The fields of config.json that the computation depends on; a value that is not implemented is ERR_MODEL naming the field."""

    def __init__(self, fields):
        self.fields = fields
        self.architecture = self.one_of('model_type', None, ARCHITECTURES)
        self.hidden_size = self.integer('hidden_size')
        self.layers = self.integer('num_hidden_layers')
        if self.layers > MAX_LAYERS:
            raise self.fault('num_hidden_layers', f'{self.layers}', f'at most {MAX_LAYERS}')
        self.heads = self.integer('num_attention_heads')
        self.kv_heads = self.integer('num_key_value_heads', 8 if self.architecture == 'mistral' else self.heads)
        self.intermediate_size = self.integer('intermediate_size')
        self.vocab_size = self.integer('vocab_size')
        default = 128 if self.architecture == 'qwen3' else self.hidden_size // self.heads
        self.head_dim = self.integer('head_dim', default)
        self.max_positions = self.integer('max_position_embeddings', 2**31 - 1)
        if self.heads % self.kv_heads:
            raise self.fault('num_key_value_heads', f'{self.kv_heads}', f'a divisor of the {self.heads} attention heads')
        if self.head_dim % 2:
            raise self.fault('head_dim', f'{self.head_dim}', 'an even number')
        self.eps = float(fields.get('rms_norm_eps', 1e-6))
        tied = self.architecture == 'smollm3'
        self.tied = self.one_of('tie_word_embeddings', tied, (True, False))
        self.one_of('hidden_act', 'silu', ('silu',))
        self.one_of('pretraining_tp', 1, (1,))
        self.one_of('attention_dropout', 0, (0,))
        self.one_of('partial_rotary_factor', 1, (1,))
        self.one_of('quantization_config', None, (None,))
        bias = self.one_of('attention_bias', False, (True, False)) if self.architecture not in ('qwen2', 'mistral') else False
        self.qkv_bias = bias or self.architecture == 'qwen2'
        self.o_bias = bias
        has_mlp_bias = self.architecture in ('llama', 'smollm3')
        self.mlp_bias = self.one_of('mlp_bias', False, (True, False)) if has_mlp_bias else False
        self.qk_norm = self.architecture == 'qwen3'
        self.window = self.sliding_window()
        self.rope_layers = self.layers_with_rope()
        self.inverse_frequencies = self.rope_frequencies()

    def fault(self, field, received, expected):
        return TrainerError('ERR_MODEL', f'config.json: {field} is {received}, expected {expected}', field)

    def one_of(self, field, default, allowed):
        value = self.fields.get(field, default)
        if value not in allowed:
            raise self.fault(field, json.dumps(value), ' or '.join(map(str, allowed)))
        return value

    def integer(self, field, default=None):
        value = self.fields.get(field)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.fault(field, json.dumps(value), 'an integer > 0')
        return value

    def sliding_window(self):
        """The longest sequence for which a sliding window changes nothing, or None."""
        used = self.architecture == 'mistral' or self.fields.get('use_sliding_window')
        return self.integer('sliding_window', 2**31 - 1) if used else None

    def layers_with_rope(self):
        if self.architecture != 'smollm3':
            return [True] * self.layers
        interval = self.integer('no_rope_layer_interval', 4)
        given = self.fields.get('no_rope_layers')
        # The list has 1 where a layer has RoPE, against its name.
        layers = given if given is not None else [int((i + 1) % interval != 0) for i in range(self.layers)]
        if len(layers) != self.layers:
            raise self.fault('no_rope_layers', f'a list of {len(layers)}', f'{self.layers} entries')
        return [bool(value) for value in layers]

    def rope_frequencies(self):
        """[D/2], theta^(-2i/D); 'linear' divides by the factor; 'llama3' divides the long wavelengths and blends between."""
        fields = self.fields
        scaling = dict(fields.get('rope_parameters') or fields.get('rope_scaling') or {})
        theta = float(scaling.get('rope_theta', fields.get('rope_theta', 1e6 if self.architecture in ('qwen2', 'qwen3') else 1e4)))
        kind = scaling.get('rope_type', scaling.get('type', 'default'))
        frequencies = theta ** (-np.arange(0, self.head_dim, 2, dtype=np.float64) / self.head_dim)
        if kind == 'default':
            return frequencies
        if kind == 'linear':
            return frequencies / float(scaling['factor'])
        if kind != 'llama3':
            raise self.fault('rope_scaling', json.dumps(scaling), 'the type default, linear or llama3')
        factor, low, high = (float(scaling[name]) for name in ('factor', 'low_freq_factor', 'high_freq_factor'))
        original = float(scaling['original_max_position_embeddings'])
        wavelengths = 2 * math.pi / frequencies
        smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
        return frequencies * ((1 - smooth) / factor + smooth)

    def shapes(self):
        """The shape of each tensor by its name."""
        H, D, M = self.hidden_size, self.head_dim, self.intermediate_size
        q, kv = self.heads * D, self.kv_heads * D
        shapes = {'model.embed_tokens.weight': [self.vocab_size, H]}
        for layer in range(self.layers):
            at = f'model.layers.{layer}.'
            modules = [
                ('self_attn.q_proj', q, H, self.qkv_bias),
                ('self_attn.k_proj', kv, H, self.qkv_bias),
                ('self_attn.v_proj', kv, H, self.qkv_bias),
                ('self_attn.o_proj', H, q, self.o_bias),
                ('mlp.gate_proj', M, H, self.mlp_bias),
                ('mlp.up_proj', M, H, self.mlp_bias),
                ('mlp.down_proj', H, M, self.mlp_bias),
            ]
            for module, rows, columns, bias in modules:
                shapes[f'{at}{module}.weight'] = [rows, columns]
                if bias:
                    shapes[f'{at}{module}.bias'] = [rows]
            if self.qk_norm:
                shapes[f'{at}self_attn.q_norm.weight'] = [D]
                shapes[f'{at}self_attn.k_norm.weight'] = [D]
            shapes[f'{at}input_layernorm.weight'] = [H]
            shapes[f'{at}post_attention_layernorm.weight'] = [H]
        shapes['model.norm.weight'] = [H]
        if not self.tied:
            shapes['lm_head.weight'] = [self.vocab_size, H]
        return shapes


# --- model -------------------------------------------------------------------------------------------------------------------------

EMBEDDING, HEAD = 'model.embed_tokens.weight', 'lm_head.weight'
# Buffers of old files, which the configuration determines; copied on save.
PASSED_THROUGH = re.compile(r'.*\.rotary_emb\.inv_freq$')
LORA_TARGETS = ('q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj')
LORA_KEY = 'base_model.model.{}.lora_{}.weight'
# Queries at once in the attention of torch 1.13: bounds the scores to [S, A, 512, L]; later versions have a fused kernel.
QUERY_BLOCK = 512
# Sequences of one group of the attention are padded to its longest, at most by this share.
GROUP_SHARE = 0.75


class Model:
    """The parameters and the computation. Full training keeps float32 masters; with LoRA the base is frozen in the run's dtype."""

    def __init__(self, folder, device, dtype, seed, lora, checkpointing, frozen):
        self.device, self.dtype, self.checkpointing = device, dtype, checkpointing
        self.folder, self.adapter_folder, self.lora = folder, None, None
        if os.path.exists(os.path.join(folder, 'adapter_config.json')):
            self.adapter_folder = folder
            adapter = self.read_adapter_config(folder, lora)
            lora, self.folder = adapter, adapter['base']
        path = os.path.join(self.folder, 'config.json')
        fields = read_json(path)
        try:
            self.config = Config(fields)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise TrainerError('ERR_MODEL', f'{path} has a field of another type, or lacks one: {type(error).__name__} {error}', path)
        if not self.config.eps > 0 or not np.isfinite(self.config.inverse_frequencies).all():
            raise TrainerError('ERR_MODEL', f'{path}: rms_norm_eps must be > 0, and the numbers of the rotation finite', 'rms_norm_eps')
        self.files, owner = open_tensors(self.folder, 'model')
        self.parameters = self.load(owner, trained=not frozen and lora is None)
        self.head = self.parameters[EMBEDDING if self.config.tied else HEAD]
        self.adapters = {}
        self.adapter_on = True
        if lora is not None:
            self.add_lora(lora, seed, trained=not frozen)
            if self.adapter_folder:
                self.load_adapter(self.adapter_folder)
        self.frequencies = torch.from_numpy(self.config.inverse_frequencies).to(device)
        trained = self.adapters if lora is not None else self.parameters
        self.trained = {} if frozen else trained

    # Loading.

    def load(self, owner, trained):
        shapes = self.config.shapes()
        extra = [name for name in owner if name not in shapes and not self.is_spare(name)]
        if extra:
            raise TrainerError('ERR_MODEL', f'{owner[extra[0]].path} has the tensor {extra[0]}, which a {self.config.architecture} model has not', extra[0])
        parameters = {}
        for name, shape in shapes.items():
            if name not in owner:
                raise TrainerError('ERR_MODEL', f'The tensor {name} is missing in {self.folder}', name)
            tensor = owner[name].tensor(name)
            if list(tensor.shape) != shape:
                raise TrainerError('ERR_MODEL', f'{name} has the shape {list(tensor.shape)}, expected {shape} by config.json', name)
            stored = torch.float32 if trained else self.dtype
            tensor = tensor.to(self.device, stored, copy=trained)
            parameters[name] = torch.nn.Parameter(tensor, requires_grad=trained)
        return parameters

    def is_spare(self, name):
        return PASSED_THROUGH.match(name) or (name == HEAD and self.config.tied)

    def reload(self, folder):
        """Weights of a checkpoint with the same tensors, into the parameters that exist."""
        if self.lora:
            return self.load_adapter(folder)
        _, owner = open_tensors(folder, 'model')
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if name not in owner or list(owner[name].entries[name]['shape']) != list(parameter.shape):
                    raise TrainerError('ERR_MODEL', f'{name} is missing in {folder}, or has another shape', name)
                parameter.copy_(owner[name].tensor(name))

    # LoRA, in the layout of PEFT: y = W x + (alpha / r) B A x.

    def read_adapter_config(self, folder, asked):
        path = os.path.join(folder, 'adapter_config.json')
        fields = read_json(path)
        for field, allowed in (('peft_type', ('LORA',)), ('bias', ('none', None)), ('use_dora', (False, None)), ('use_rslora', (False, None))):
            if fields.get(field) not in allowed:
                raise TrainerError('ERR_MODEL', f'{path}: {field} is {json.dumps(fields.get(field))}, expected {allowed[0]}', field)
        for field in ('modules_to_save', 'rank_pattern', 'alpha_pattern', 'layers_to_transform'):
            if fields.get(field):
                raise TrainerError('ERR_MODEL', f'{path}: {field} is not implemented', field)
        base = fields.get('base_model_name_or_path') or ''
        targets = fields.get('target_modules')
        for field in ('r', 'lora_alpha'):
            if not isinstance(fields.get(field), (int, float)) or isinstance(fields[field], bool) or not fields[field] > 0:
                raise TrainerError('ERR_MODEL', f'{path}: {field} is {json.dumps(fields.get(field))}, expected a number > 0', field)
        if not isinstance(base, str) or not (isinstance(targets, str) or isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets)):
            raise TrainerError('ERR_MODEL', f'{path}: expected a path for base_model_name_or_path and names for target_modules', 'target_modules')
        base = base if os.path.isabs(base) or os.path.isdir(base) else os.path.join(folder, base)
        adapter = {'r': fields['r'], 'alpha': fields['lora_alpha'], 'targets': [targets] if isinstance(targets, str) else targets, 'base': base}
        if asked and (asked['r'], asked['alpha']) != (adapter['r'], adapter['alpha']):
            raise TrainerError('ERR_MODEL', f'{path}: r and lora_alpha are {adapter["r"]} and {adapter["alpha"]}, other ones were asked for', 'r')
        return adapter

    def add_lora(self, lora, seed, trained):
        self.lora = {'r': int(lora['r']), 'alpha': float(lora['alpha']), 'targets': sorted(lora['targets'])}
        for target in self.lora['targets']:
            if target not in LORA_TARGETS:
                raise TrainerError('ERR_MODEL', f'LoRA targets are {", ".join(LORA_TARGETS)}, not {target}', 'target_modules')
        for name, parameter in self.parameters.items():
            module = name[: -len('.weight')]
            if not name.endswith('.weight') or module.rsplit('.', 1)[-1] not in self.lora['targets']:
                continue
            # A seed of its own for each tensor: A does not depend on the other targets.
            digest = hashlib.sha256(f'{seed} {module}'.encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], 'little') >> 1)
            a = torch.randn(self.lora['r'], parameter.shape[1], generator=generator) / self.lora['r']
            b = torch.zeros(parameter.shape[0], self.lora['r'])
            for letter, tensor in (('A', a), ('B', b)):
                self.adapters[LORA_KEY.format(module, letter)] = torch.nn.Parameter(tensor.to(self.device), requires_grad=trained)

    def load_adapter(self, folder):
        _, owner = open_tensors(folder, 'adapter_model')
        for name in list(owner) + list(self.adapters):
            if name not in owner or name not in self.adapters:
                raise TrainerError('ERR_MODEL', f'{name} is {"missing" if name not in owner else "an extra tensor"} in {folder}', name)
        with torch.no_grad():
            for name, parameter in self.adapters.items():
                tensor = owner[name].tensor(name)
                if tensor.shape != parameter.shape:
                    raise TrainerError('ERR_MODEL', f'{name} has the shape {list(tensor.shape)}, expected {list(parameter.shape)}', name)
                parameter.copy_(tensor)

    # Computation on packed rows.

    def autocast(self):
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def linear(self, module, x):
        y = F.linear(x, self.parameters[f'{module}.weight'], self.parameters.get(f'{module}.bias'))
        a = self.adapters.get(LORA_KEY.format(module, 'A')) if self.adapter_on else None
        if a is None:
            return y
        b = self.adapters[LORA_KEY.format(module, 'B')]
        return y + F.linear(F.linear(x, a), b) * (self.lora['alpha'] / self.lora['r'])

    def norm(self, name, x):
        """RMSNorm in float32: w x / sqrt(mean(x^2) + eps)."""
        x = x.float()
        return self.parameters[name].float() * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.config.eps))

    def embed(self, ids):
        return F.embedding(ids, self.parameters[EMBEDDING]).float()

    def rotation(self, positions):
        """cos and sin, [N, 1, D/2] float32, of position times frequency; the angle in float64."""
        angles = positions.double()[:, None, None] * self.frequencies
        return angles.cos().float(), angles.sin().float()

    def rotate(self, x, cos, sin):
        """RoPE on halves: x [N, heads, D]."""
        x1, x2 = x.chunk(2, -1)
        return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1)

    def qkv(self, layer, x, cos, sin):
        """Queries [N, A, D], keys and values [N, K, D] of the normalized x [N, H]."""
        at, D = f'model.layers.{layer}.self_attn.', self.config.head_dim
        q, k, v = (self.linear(f'{at}{name}_proj', x).view(x.shape[0], -1, D) for name in 'qkv')
        if self.config.qk_norm:
            q, k = self.norm(f'{at}q_norm.weight', q), self.norm(f'{at}k_norm.weight', k)
        if self.config.rope_layers[layer]:
            q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        return q, k, v

    def layer(self, layer, x, cos, sin, attend):
        """One decoder layer on rows x [N, H]; `attend(layer, q, k, v)` returns [N, A D]."""
        at = f'model.layers.{layer}.'
        q, k, v = self.qkv(layer, self.norm(f'{at}input_layernorm.weight', x), cos, sin)
        x = x + self.linear(f'{at}self_attn.o_proj', attend(layer, q, k, v))
        y = self.norm(f'{at}post_attention_layernorm.weight', x)
        gate, up = self.linear(f'{at}mlp.gate_proj', y), self.linear(f'{at}mlp.up_proj', y)
        return x + self.linear(f'{at}mlp.down_proj', F.silu(gate) * up)

    def hidden(self, ids, offsets, rows, keys=None, parents=None):
        """Final-norm states [R, H] of rows of the packed sequences; keys and values of each layer are appended to `keys`."""
        packing = Packing(offsets, self.device, parents)
        self.check_length(packing.longest)
        cos, sin = self.rotation(packing.positions)

        def attend(layer, q, k, v):
            if keys is not None:
                keys.append((k, v))
            return packing.attention(q, k, v)

        x = self.embed(ids)
        for layer in range(self.config.layers):
            if self.checkpointing and torch.is_grad_enabled():
                x = torch.utils.checkpoint.checkpoint(self.layer, layer, x, cos, sin, attend, use_reentrant=False)
            else:
                x = self.layer(layer, x, cos, sin, attend)
        return self.norm('model.norm.weight', x.index_select(0, rows))

    def check_length(self, longest):
        for field, most in (('sliding_window', self.config.window), ('max_position_embeddings', self.config.max_positions)):
            if most is not None and longest > most:
                raise TrainerError('ERR_MODEL', f'A sequence of {longest} tokens is longer than {field} {most}; --max-length leaves it out', field)

    def logits(self, hidden):
        """[R, V] float32: 16-bit products would round them."""
        if self.head.dtype == torch.float32:
            return hidden @ self.head.t()
        return torch.cat([hidden @ part.float().t() for part in self.head.split(16384)], 1)

    # Saving.

    def dense(self, name):
        """The tensor of a name of the base model, with the adapter added to it."""
        tensor = self.parameters[EMBEDDING if name == HEAD and self.config.tied else name].detach()
        module = name[: -len('.weight')]
        a = self.adapters.get(LORA_KEY.format(module, 'A'))
        if a is None:
            return tensor
        scale = self.lora['alpha'] / self.lora['r']
        update = self.adapters[LORA_KEY.format(module, 'B')].detach().double() @ a.detach().double() * scale
        return (tensor.double() + update).float()

    def write_weights(self, folder):
        """The files of the base model: same names, dtypes and headers; a file above 5 GB becomes shards."""
        written = []
        if all(len(file.map) <= MAX_SHARD_BYTES for file in self.files):
            for file in self.files:
                names = sorted(file.entries, key=lambda name: file.entries[name]['data_offsets'])
                tensors = [(name, self.stored(file, name)) for name in names]
                written.append(write_safetensors(os.path.join(folder, os.path.basename(file.path)), tensors, header_bytes=file.header_bytes))
            plan = {name: os.path.basename(file.path) for file in self.files for name in file.entries}
        else:
            shards, size = [[]], 0
            for file in self.files:
                for name in file.entries:
                    bytes_of_tensor = file.size(file.entries[name])
                    if shards[-1] and size + bytes_of_tensor > MAX_SHARD_BYTES:
                        shards.append([])
                        size = 0
                    shards[-1].append((file, name))
                    size += bytes_of_tensor
            plan = {}
            for i, shard in enumerate(shards):
                path = f'model-{i + 1:05}-of-{len(shards):05}.safetensors'
                tensors = [(name, self.stored(file, name)) for file, name in shard]
                written.append(write_safetensors(os.path.join(folder, path), tensors, {'format': 'pt'}))
                plan.update({name: path for _, name in shard})
        if len(set(plan.values())) > 1:
            total = sum(file.size(entry) for file in self.files for entry in file.entries.values())
            index = {'metadata': {'total_size': total}, 'weight_map': dict(sorted(plan.items()))}
            written.append(write_json(os.path.join(folder, 'model.safetensors.index.json'), index))
        return written

    def stored(self, file, name):
        if PASSED_THROUGH.match(name):
            return file.tensor(name)
        return self.dense(name).to('cpu', DTYPES[file.entries[name]['dtype']])

    def write_adapter(self, folder):
        tensors = [(name, tensor.detach()) for name, tensor in sorted(self.adapters.items())]
        config = {
            'peft_type': 'LORA',
            'task_type': 'CAUSAL_LM',
            'base_model_name_or_path': os.path.abspath(self.folder),
            'r': self.lora['r'],
            'lora_alpha': self.lora['alpha'],
            'lora_dropout': 0.0,
            'bias': 'none',
            'target_modules': self.lora['targets'],
            'inference_mode': True,
        }
        return [
            write_safetensors(os.path.join(folder, 'adapter_model.safetensors'), tensors, {'format': 'pt'}),
            write_json(os.path.join(folder, 'adapter_config.json'), config),
        ]


def write_json(path, value):
    text = json.dumps(value, indent=2).encode() + b'\n'
    with open(path, 'wb') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return {'name': os.path.basename(path), 'bytes': len(text), 'sha256': hashlib.sha256(text).hexdigest()}


class Packing:
    """Sequences packed without padding; for the attention alone they are padded, in groups of similar length.

    A sequence with a parent continues it: its queries attend to the parent's keys too. The children of one parent are grouped.
    """

    def __init__(self, offsets, device, parents=None):
        lengths = np.diff(offsets)
        starts = np.asarray(offsets[:-1])
        total = int(offsets[-1])
        parents = np.full(len(lengths), -1) if parents is None else np.array(parents)
        before = np.where(parents >= 0, lengths[parents], 0)
        self.longest = int((before + lengths).max())
        self.positions = torch.from_numpy(np.arange(total) - np.repeat(starts - before, lengths)).to(device)
        # Padding repeats the last token of its sequence: it lies after every query, so that the causal mask hides it.
        self.groups, inverse, padded = [], np.empty(total, np.int64), 0
        # By parent, then the longest first.
        order = np.lexsort((-lengths, parents))
        while len(order):
            longest, parent = int(lengths[order[0]]), int(parents[order[0]])
            count = int(np.sum((lengths[order] >= GROUP_SHARE * longest) & (parents[order] == parent)))
            members, order = order[:count], order[count:]
            prefix = None if parent < 0 else slice(int(starts[parent]), int(starts[parent] + lengths[parent]))
            grid = starts[members, None] + np.minimum(np.arange(longest), lengths[members, None] - 1)
            for row, member in enumerate(members):
                start, length = int(starts[member]), int(lengths[member])
                inverse[start : start + length] = padded + row * longest + np.arange(length)
            padded += count * longest
            self.groups.append((count, longest, prefix, torch.from_numpy(grid.reshape(-1)).to(device)))
        self.inverse = torch.from_numpy(inverse).to(device)

    def pad(self, x, group):
        """Rows [N, heads, D] to [S, heads, L, D] of a group."""
        count, longest, _, index = group
        return x.index_select(0, index).view(count, longest, *x.shape[1:]).transpose(1, 2)

    def attention(self, q, k, v):
        """Causal attention within each sequence: q [N, A, D], k and v [N, K, D] to [N, A D]."""
        outputs = []
        for group in self.groups:
            padded, prefix = [self.pad(x, group) for x in (q, k, v)], group[2]
            output = causal_attention(*padded) if prefix is None else prefixed_attention(*padded, k[prefix], v[prefix])
            outputs.append(output.transpose(1, 2).reshape(group[0] * group[1], -1))
        return torch.cat(outputs).index_select(0, self.inverse)


def causal_attention(q, k, v):
    """softmax(q k^T / sqrt(D)) v over earlier positions: q [S, A, L, D], k and v [S, K, L, D], query head a reads head a K / A."""
    S, A, L, D = q.shape
    K = k.shape[1]
    if hasattr(F, 'scaled_dot_product_attention'):
        # v has the dtype of the products: 16 bits in a bf16 run, while RoPE makes q and k float32.
        q, k = q.to(v.dtype), k.to(v.dtype)
        k, v = (x.repeat_interleave(A // K, 1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    k = k.to(v.dtype)
    # The query heads of one key head are rows of one product; the scale is on the smaller factor.
    q = (q * D**-0.5).reshape(S * K, A // K, L, D)
    k, v = (x.reshape(S * K, L, D) for x in (k, v))
    outputs = []
    for begin in range(0, L, QUERY_BLOCK):
        end = min(begin + QUERY_BLOCK, L)
        hide = torch.full((end - begin, end), -math.inf, dtype=k.dtype, device=q.device).triu(begin + 1)
        queries = q[:, :, begin:end].reshape(S * K, -1, D)
        scores = torch.baddbmm(hide.repeat(A // K, 1), queries.to(k.dtype), k[:, :end].transpose(1, 2))
        probs = torch.softmax(scores, -1, dtype=torch.float32)
        outputs.append(torch.bmm(probs.to(v.dtype), v[:, :end]).view(S, A, end - begin, D))
    return torch.cat(outputs, 2)


def prefixed_attention(q, k, v, prefix_k, prefix_v):
    """As causal_attention, of which every position also sees one prefix: prefix_k and prefix_v [P, K, D]."""
    S, A, L, D = q.shape
    K, P = k.shape[1], prefix_k.shape[0]
    k = k.to(v.dtype)
    prefix_k, prefix_v = (x.to(v.dtype).transpose(0, 1) for x in (prefix_k, prefix_v))
    q = (q * D**-0.5).to(v.dtype).view(S, K, A // K, L, D)
    # Blocks of sequences and of queries bound the scores to about [A, 512, P + L].
    rows, outputs = max(1, QUERY_BLOCK // L), []
    for first in range(0, S, rows):
        s = min(rows, S - first)
        own_k, own_v = (x[first : first + s].reshape(s * K, L, D) for x in (k, v))
        blocks = []
        for begin in range(0, L, QUERY_BLOCK):
            queries = q[first : first + s, :, :, begin : begin + QUERY_BLOCK]
            l, end = queries.shape[3], min(begin + QUERY_BLOCK, L)
            hide = torch.full((l, end), -math.inf, device=q.device).triu(begin + 1)
            early = queries.transpose(0, 1).reshape(K, -1, D) @ prefix_k.transpose(1, 2)
            early = early.view(K, s, A // K, l, P).transpose(0, 1)
            late = (queries.reshape(s * K, -1, D) @ own_k[:, :end].transpose(1, 2)).view(s, K, A // K, l, end) + hide
            early, late = torch.softmax(torch.cat((early.float(), late), -1), -1).to(v.dtype).split((P, end), -1)
            output = (late.reshape(s * K, -1, end) @ own_v[:, :end]).view(s, K, -1, D)
            output = output + (early.transpose(0, 1).reshape(K, -1, P) @ prefix_v).view(K, s, -1, D).transpose(0, 1)
            blocks.append(output.reshape(s, A, l, D))
        outputs.append(torch.cat(blocks, 2))
    return torch.cat(outputs)


# --- sampling ------------------------------------------------------------------------------------------------------------------


def mix(x):
    """The finalizer of splitmix64 on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds, position):
    """One float64 in [0, 1) a candidate: a function of its seed and the position alone."""
    with np.errstate(over='ignore'):
        x = mix(mix(seeds) + np.uint64(position + 1) * np.uint64(0x9E3779B97F4A7C15))
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


BLOCK = 128


def invert_cdf(probs, u):
    """The entry whose interval of the cumulative distribution has u: probs [B, V] float32 >= 0, not normalized, u [B] float64.

    Block sums first, then the entries of one block: V additions that vectorize, and no [B, V] cumulative sum.
    """
    B, V = probs.shape
    blocks = F.pad(probs, (0, -V % BLOCK)).view(B, -1, BLOCK)
    ends = blocks.sum(-1).double().cumsum(-1)
    target = u * ends[:, -1]
    # The last block with a positive sum bounds it: u times the total may round up to the total.
    last = ((ends < ends[:, -1:]).sum(-1)).clamp(max=ends.shape[1] - 1)
    block = torch.minimum((ends <= target[:, None]).sum(-1), last)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)[:, None])[:, 0], torch.zeros_like(target))
    inside = blocks[torch.arange(B, device=probs.device), block]
    entry = (inside.double().cumsum(-1) <= (target - before)[:, None]).sum(-1)
    positive = torch.arange(BLOCK, device=probs.device) * (inside > 0)
    return block * BLOCK + torch.minimum(entry, positive.max(-1).values)


def draw(logits, u, temperature, top_p):
    """A token of each row with its log-probs at temperature 1 and as sampled; temperature 0 takes the largest logit."""
    logps = torch.log_softmax(logits, -1)
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logps.gather(1, tokens[:, None])[:, 0], torch.zeros(len(tokens), device=logits.device)
    sampled = logps if temperature == 1 else torch.log_softmax(logits / temperature, -1)
    if top_p < 1:
        # The fewest entries whose probabilities reach top_p.
        ordered, index = sampled.sort(dim=-1, descending=True, stable=True)
        probs = ordered.exp()
        ordered = ordered.masked_fill(probs.cumsum(-1) - probs >= top_p, -math.inf)
        sampled = torch.log_softmax(torch.empty_like(sampled).scatter_(1, index, ordered), -1)
    tokens = invert_cdf(sampled.exp(), u)
    return tokens, logps.gather(1, tokens[:, None])[:, 0], sampled.gather(1, tokens[:, None])[:, 0]


class Sampler:
    """n candidates of each of S prompts. Keys and values of a prompt are stored once; those of candidates [S n, K, T, D] grow."""

    def __init__(self, model, prompts, n):
        self.model, self.S, self.n = model, len(prompts), n
        device = model.device
        lengths = np.array([len(prompt) for prompt in prompts])
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        ids = torch.tensor([token for prompt in prompts for token in prompt], device=device)
        keys = []
        last = torch.from_numpy(offsets[1:] - 1).to(device)
        self.first = model.hidden(ids, offsets, last, keys).repeat_interleave(n, 0)
        # [S, P] into the packed tokens; -inf hides the padding.
        columns = np.arange(lengths.max())
        grid = torch.from_numpy(offsets[:-1, None] + np.minimum(columns, lengths[:, None] - 1)).to(device)
        self.hide = torch.from_numpy(np.where(columns < lengths[:, None], 0.0, -np.inf)).float().to(device)
        self.prefix = [tuple(x[grid].transpose(1, 2).contiguous() for x in pair) for pair in keys]
        self.suffix = [None] * model.config.layers
        self.lengths = torch.from_numpy(lengths).to(device).repeat_interleave(n)
        self.time = 0

    def advance(self, tokens):
        """Hidden states [S n, H] after one more token a candidate."""
        positions = self.lengths + self.time
        self.model.check_length(int(positions.max()) + 1)
        cos, sin = self.model.rotation(positions)
        x = self.model.embed(tokens)
        for layer in range(self.model.config.layers):
            x = self.model.layer(layer, x, cos, sin, self.attend)
        self.time += 1
        return self.model.norm('model.norm.weight', x)

    def attend(self, layer, q, k, v):
        config, S, n, t = self.model.config, self.S, self.n, self.time + 1
        K, D = config.kv_heads, config.head_dim
        repeats = config.heads // K
        ours = self.suffix[layer] = self.append(self.suffix[layer], k, v)
        prefix_k, prefix_v = self.prefix[layer]
        q = q.view(S, n, K, repeats, D)
        shared = q.transpose(1, 2).reshape(S, K, n * repeats, D).to(prefix_k.dtype)
        early = (shared @ prefix_k.transpose(2, 3)).float() * D**-0.5 + self.hide[:, None, None]
        early = early.view(S, K, n, repeats, -1).transpose(1, 2)
        late = (q.reshape(S * n, K, repeats, D).to(ours[0].dtype) @ ours[0][:, :, :t].transpose(2, 3)).float() * D**-0.5
        probs = torch.softmax(torch.cat((early, late.view(S, n, K, repeats, t)), -1), -1)
        early, late = probs.split((prefix_k.shape[2], t), -1)
        early = early.transpose(1, 2).reshape(S, K, n * repeats, -1).to(prefix_v.dtype) @ prefix_v
        late = late.reshape(S * n, K, repeats, t).to(ours[1].dtype) @ ours[1][:, :, :t]
        return (early.view(S, K, n, repeats, D).transpose(1, 2) + late.view(S, n, K, repeats, D)).reshape(S * n, -1)

    def append(self, cache, k, v):
        if cache is None or self.time == cache[0].shape[2]:
            capacity = 2 * self.time or 32
            grown = tuple(torch.empty(*x.shape[:2], capacity, x.shape[2], dtype=x.dtype, device=x.device) for x in (k, v))
            if cache is not None:
                for new, old in zip(grown, cache):
                    new[:, :, : self.time] = old
            cache = grown
        for stored, x in zip(cache, (k, v)):
            stored[:, :, self.time] = x
        return cache

    def compact(self, alive):
        """Drops finished candidates: alive [S, n]. Returns the rows that stay; each state keeps as many as the fullest one."""
        states = np.flatnonzero(alive.any(1))
        n = int(alive[states].sum(1).max())
        kept = np.argsort(~alive[states], axis=1, kind='stable')[:, :n]
        rows = (states[:, None] * self.n + kept).reshape(-1)
        index = torch.from_numpy(rows).to(self.model.device)
        if len(states) < self.S:
            some = torch.from_numpy(states).to(self.model.device)
            self.prefix = [tuple(x.index_select(0, some) for x in pair) for pair in self.prefix]
            self.hide = self.hide.index_select(0, some)
        self.suffix = [pair and tuple(x.index_select(0, index) for x in pair) for pair in self.suffix]
        self.lengths = self.lengths.index_select(0, index)
        self.S, self.n = len(states), n
        return rows


def sample(model, prompts, n, temperature, top_p, max_tokens, stop, seeds):
    """Yields {candidate, ids, logps, sampledLogps, stop} as candidates end; candidate i is the (i mod n)th of prompt i / n."""
    with torch.no_grad(), model.autocast():
        sampler = Sampler(model, prompts, n)
        seeds = np.array(seeds, dtype=np.uint64)
        slots = np.arange(len(prompts) * n)
        alive = np.ones(len(slots), bool)
        ids, logps, sampled_logps = ([[] for _ in slots] for _ in range(3))
        hidden = sampler.first
        for position in range(max_tokens):
            with torch.autocast(model.device.type, enabled=False):
                u = torch.from_numpy(uniforms(seeds[slots], position)).to(model.device)
                tokens, *logps_of_rows = draw(model.logits(hidden.float()), u, temperature, top_p)
            taken, plain, sampled = (x.tolist() for x in (tokens, *logps_of_rows))
            for row in np.flatnonzero(alive):
                slot = slots[row]
                ids[slot].append(taken[row])
                logps[slot].append(plain[row])
                sampled_logps[slot].append(sampled[row])
                reason = 'stop' if taken[row] in stop else 'length' if position + 1 == max_tokens else None
                if reason:
                    alive[row] = False
                    yield {'candidate': int(slot), 'ids': ids[slot], 'logps': logps[slot], 'sampledLogps': sampled_logps[slot], 'stop': reason}
            if not alive.any():
                return
            if 2 * alive.sum() <= len(alive):
                rows = sampler.compact(alive.reshape(sampler.S, sampler.n))
                slots, alive = slots[rows], alive[rows]
                tokens = tokens.index_select(0, torch.from_numpy(rows).to(model.device))
            hidden = sampler.advance(tokens)


# --- optimizer -----------------------------------------------------------------------------------------------------------------


class AdamW:
    """Adam with beta 0.9 and 0.95, epsilon 1e-8 and no weight decay: Table 5 of the paper.

    m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
    """

    BETA1, BETA2, EPS = 0.9, 0.95, 1e-8

    def __init__(self, parameters):
        self.parameters, self.count = parameters, 0
        self.moments = {name: tuple(torch.zeros_like(p, dtype=torch.float32) for _ in range(2)) for name, p in parameters.items()}

    @torch.no_grad()
    def step(self, learning_rate, scale):
        self.count += 1
        correction1, correction2 = (1 - beta**self.count for beta in (self.BETA1, self.BETA2))
        for name, parameter in self.parameters.items():
            m, v = self.moments[name]
            grad = parameter.grad if scale == 1 else parameter.grad.mul_(scale)
            m.mul_(self.BETA1).add_(grad, alpha=1 - self.BETA1)
            v.mul_(self.BETA2).addcmul_(grad, grad, value=1 - self.BETA2)
            denominator = v.sqrt().div_(math.sqrt(correction2)).add_(self.EPS)
            parameter.addcdiv_(m, denominator, value=-learning_rate / correction1)
            parameter.grad = None

    def write(self, folder):
        """Moments, and the float32 weights that a 16-bit file rounds."""
        tensors = []
        for name, parameter in self.parameters.items():
            tensors += [(f'{name}.exp_avg', self.moments[name][0]), (f'{name}.exp_avg_sq', self.moments[name][1])]
            tensors.append((f'{name}.master', parameter.detach()))
        return write_safetensors(os.path.join(folder, 'optimizer.safetensors'), tensors, {'step': str(self.count)})

    @torch.no_grad()
    def read(self, folder):
        file = SafetensorsFile(os.path.join(folder, 'optimizer.safetensors'))
        self.count = int(file.metadata['step'])
        for name, parameter in self.parameters.items():
            for suffix, tensor in zip(('exp_avg', 'exp_avg_sq', 'master'), (*self.moments[name], parameter)):
                stored = f'{name}.{suffix}'
                if stored not in file.entries or list(file.entries[stored]['shape']) != list(tensor.shape):
                    raise TrainerError('ERR_MODEL', f'{stored} is missing in {file.path}, or has another shape', stored)
                tensor.copy_(file.tensor(stored))


# --- requests ------------------------------------------------------------------------------------------------------------------

NUMBER = (int, float)
OPTIONAL = object()
# Fields of each request: type, and OPTIONAL where it may be absent or null.
REQUESTS = {
    'hello': {'protocol': int, 'model': str, 'device': str, 'dtype': str, 'threads': int, 'seed': int, 'lora': (dict, OPTIONAL), 'checkpointing': bool, 'frozen': (bool, OPTIONAL)},
    'buffers': {'maxRows': int, 'hidden': (str, OPTIONAL), 'gradHidden': (str, OPTIONAL), 'weight': (str, OPTIONAL), 'gradWeight': (str, OPTIONAL)},
    'forward': {'ids': list, 'sequenceOffsets': list, 'parents': (list, OPTIONAL), 'rows': list, 'train': bool, 'adapter': (bool, OPTIONAL)},
    'backward': {},
    'step': {'learningRate': NUMBER, 'clip': (NUMBER, OPTIONAL), 'sums': list},
    'sample': {'prompts': list, 'n': int, 'temperature': NUMBER, 'topP': NUMBER, 'maxTokens': int, 'stop': list, 'seeds': list},
    'save': {'folder': str, 'what': str},
    'load': {'folder': str, 'what': str},
    'end': {},
}


def checked(request):
    kind = request.get('request') if isinstance(request, dict) else None
    if kind not in REQUESTS:
        raise TrainerError('ERR_PROTOCOL', f'Unknown request {json.dumps(kind)}; there are {", ".join(REQUESTS)}', 'request')
    fields = {}
    for name, rule in REQUESTS[kind].items():
        optional = isinstance(rule, tuple) and OPTIONAL in rule
        types = tuple(t for t in rule if t is not OPTIONAL) if isinstance(rule, tuple) else (rule,)
        types = tuple(t for entry in types for t in (entry if isinstance(entry, tuple) else (entry,)))
        value = request.get(name)
        if value is None and optional:
            fields[name] = None
        elif not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            expected = ' or '.join(t.__name__ for t in types)
            raise TrainerError('ERR_PROTOCOL', f'{kind}: {name} must be of type {expected}', name)
        else:
            fields[name] = value
    unknown = set(request) - set(fields) - {'request'}
    if unknown:
        raise TrainerError('ERR_PROTOCOL', f'{kind}: unknown field {sorted(unknown)[0]}', sorted(unknown)[0])
    return kind, fields


class Trainer:
    def __init__(self):
        self.model = self.optimizer = self.graph = None
        self.buffers = {}
        self.device = torch.device('cpu')
        self.world = int(os.environ.get('WORLD_SIZE', '1'))
        self.reduced = False

    def need(self, what, request):
        value = getattr(self, what)
        if value is None or (what == 'buffers' and not value):
            raise TrainerError('ERR_PROTOCOL', f'{request} before {dict(model="hello", buffers="buffers", graph="forward with train", optimizer="hello of a model to train")[what]}', request)

    def hello(self, protocol, model, device, dtype, threads, seed, lora, checkpointing, frozen):
        if protocol != PROTOCOL:
            raise TrainerError('ERR_PROTOCOL', f'The protocol is {PROTOCOL}, not {protocol}', 'protocol')
        # Another model takes the place of the last one.
        self.model = self.optimizer = self.graph = None
        self.buffers, self.reduced = {}, False
        if dtype not in ('float32', 'bfloat16'):
            raise TrainerError('ERR_PROTOCOL', f'dtype must be float32 or bfloat16, not {dtype}', 'dtype')
        self.device = choose_device(device)
        torch.set_num_threads(threads)
        self.model = Model(model, self.device, getattr(torch, dtype), seed, lora, checkpointing, bool(frozen))
        if self.model.trained:
            self.optimizer = AdamW(self.model.trained)
        if self.world > 1 and not frozen and not torch.distributed.is_initialized():
            torch.distributed.init_process_group('nccl' if self.device.type == 'cuda' else 'gloo')
        config = self.model.config
        return {
            'architecture': config.architecture,
            'H': config.hidden_size,
            'V': config.vocab_size,
            'layers': config.layers,
            'tied': config.tied,
            'headBias': False,
            'parameters': sum(p.numel() for p in self.model.parameters.values()),
            'trained': sum(p.numel() for p in self.model.trained.values()),
            'maxPositions': config.max_positions,
            'lora': self.model.lora,
            'torch': torch.__version__,
            'freeMemory': free_memory(self.device),
        }

    # Memory of both processes.

    def buffers_(self, maxRows, **names):
        self.need('model', 'buffers')
        self.graph = None
        config, dtype = self.model.config, self.model.dtype
        shapes = {'hidden': (maxRows, config.hidden_size), 'weight': (config.vocab_size, config.hidden_size)}
        if self.model.trained:
            shapes['gradHidden'] = shapes['hidden']
            if not self.model.lora:
                shapes['gradWeight'] = shapes['weight']
        dtypes = {name: dtype if name in ('hidden', 'weight') else torch.float32 for name in shapes}
        if self.device.type == 'cuda':
            self.buffers = {name: torch.zeros(shapes[name], dtype=dtypes[name], device=self.device) for name in shapes}
            answer = {name: ipc_handle(tensor) for name, tensor in self.buffers.items()}
        else:
            for name in names:
                if (names[name] is not None) != (name in shapes):
                    raise TrainerError('ERR_PROTOCOL', f'buffers: {name} is {"needed" if name in shapes else "not used"} here', name)
            self.buffers = {name: map_shared(names[name], shapes[name], dtypes[name]) for name in shapes}
            answer = {}
        with torch.no_grad():
            self.buffers['weight'].copy_(self.model.head)
        if self.model.head.dtype == dtype:
            self.model.head.data = self.buffers['weight']
        return answer

    # Training.

    def forward(self, ids, sequenceOffsets, parents, rows, train, adapter):
        self.need('buffers', 'forward')
        if train:
            self.need('optimizer', 'forward')
        self.graph = None
        model, count = self.model, len(ids)
        offsets = np.array(sequenceOffsets, dtype=np.int64)
        if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 1).any():
            raise TrainerError('ERR_PROTOCOL', f'sequenceOffsets must rise from 0 to the {count} ids', 'sequenceOffsets')
        if parents is not None and (train or len(parents) != len(offsets) - 1):
            raise TrainerError('ERR_PROTOCOL', f'parents must be absent with train, else one for each of the {len(offsets) - 1} sequences', 'parents')
        for s, parent in enumerate(parents or ()):
            if not isinstance(parent, int) or not -1 <= parent < s or (parent >= 0 and parents[parent] >= 0):
                raise TrainerError('ERR_PROTOCOL', f'parents[{s}] is {parent}, expected -1 or an earlier sequence without a parent', 'parents')
        for name, values, end in (('ids', ids, model.config.vocab_size), ('rows', rows, count)):
            bad = next((i for i, value in enumerate(values) if not isinstance(value, int) or not 0 <= value < end), None)
            if bad is not None:
                raise TrainerError('ERR_PROTOCOL', f'{name}[{bad}] is {values[bad]}, expected an integer from 0 to {end - 1}', name)
        if not 1 <= len(rows) <= len(self.buffers['hidden']):
            raise TrainerError('ERR_PROTOCOL', f'{len(rows)} rows, but the buffers are for 1 to {len(self.buffers["hidden"])}', 'rows')
        model.adapter_on = adapter is not False
        tokens, index = (torch.tensor(values, device=self.device) for values in (ids, rows))
        with torch.set_grad_enabled(train), model.autocast():
            hidden = model.hidden(tokens, offsets, index, parents=parents)
        with torch.no_grad():
            self.buffers['hidden'][: len(rows)].copy_(hidden)
        if train:
            self.graph = hidden
        self.synchronize()
        return {}

    def backward(self):
        self.need('graph', 'backward')
        # Rows of the graph are float32 whatever the buffer is: gradHidden needs no cast.
        torch.autograd.backward(self.graph, self.buffers['gradHidden'][: len(self.graph)].to(self.graph.dtype))
        self.graph = None
        self.synchronize()
        return {}

    @torch.no_grad()
    def reduce(self, sums):
        """Completes the gradients: adds the head's, then sums over the ranks. Returns `sums`, summed over the ranks too."""
        trained, head = self.model.trained, self.model.head
        if self.reduced:
            return sums
        if 'gradWeight' in self.buffers:
            if head.grad is None:
                head.grad = self.buffers['gradWeight'].clone() if self.world > 1 else self.buffers['gradWeight']
            else:
                head.grad.add_(self.buffers['gradWeight'])
        for parameter in trained.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.reduced = True
        if self.world == 1:
            return sums
        given = torch.tensor(sums, dtype=torch.float32, device=self.device)
        flat = torch.cat([parameter.grad.view(-1) for parameter in trained.values()] + [given])
        torch.distributed.all_reduce(flat)
        at = 0
        for parameter in trained.values():
            parameter.grad.copy_(flat[at : at + parameter.numel()].view_as(parameter))
            at += parameter.numel()
        return flat[at:].tolist()

    @torch.no_grad()
    def step(self, learningRate, clip, sums):
        self.need('optimizer', 'step')
        self.need('buffers', 'step')
        sums = self.reduce(sums)
        self.reduced = False
        trained = self.model.trained
        norm = norm_of(parameter.grad for parameter in trained.values())
        if not math.isfinite(norm):
            for parameter in trained.values():
                parameter.grad = None
            raise TrainerError('ERR_NONFINITE', f'The gradient norm is {norm}; the weights are unchanged', 'gradient norm')
        # As torch.nn.utils.clip_grad_norm_, whose 1e-6 avoids a division by 0.
        scale = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        self.optimizer.step(learningRate, scale)
        self.refresh_weight()
        self.synchronize()
        return {'gradNorm': norm, 'parameterNorm': norm_of(trained.values()), 'sums': sums}

    @torch.no_grad()
    def refresh_weight(self):
        if self.buffers and self.model.head.data_ptr() != self.buffers['weight'].data_ptr():
            self.buffers['weight'].copy_(self.model.head)

    def synchronize(self):
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)

    # Files.

    def save(self, folder, what):
        self.need('model', 'save')
        os.makedirs(folder, exist_ok=True)
        if what == 'weights':
            files = self.model.write_adapter(folder) if self.model.lora else self.model.write_weights(folder)
        elif what == 'merged':
            files = self.model.write_weights(folder)
        elif what == 'optimizer':
            self.need('optimizer', 'save')
            files = [self.optimizer.write(folder)]
        elif what == 'gradients':
            self.need('optimizer', 'save')
            self.reduce([])
            tensors = [(name, parameter.grad) for name, parameter in self.model.trained.items()]
            files = [write_safetensors(os.path.join(folder, 'gradients.safetensors'), tensors)]
        else:
            raise TrainerError('ERR_PROTOCOL', f'save: what must be weights, merged, optimizer or gradients, not {what}', 'what')
        return {'files': files}

    @torch.no_grad()
    def load(self, folder, what):
        self.need('model', 'load')
        if what == 'weights':
            self.model.reload(folder)
        elif what == 'optimizer':
            self.need('optimizer', 'load')
            self.optimizer.read(folder)
        else:
            raise TrainerError('ERR_PROTOCOL', f'load: what must be weights or optimizer, not {what}', 'what')
        self.refresh_weight()
        return {}

    def sample(self, prompts, n, temperature, topP, maxTokens, stop, seeds):
        self.need('model', 'sample')
        vocab = self.model.config.vocab_size
        for i, prompt in enumerate(prompts):
            if not prompt or not all(isinstance(token, int) and 0 <= token < vocab for token in prompt):
                raise TrainerError('ERR_PROTOCOL', f'prompts[{i}] must be a list of at least one id below {vocab}', 'prompts')
        if not prompts or n < 1 or maxTokens < 1 or len(seeds) != n * len(prompts):
            raise TrainerError('ERR_PROTOCOL', 'sample: expected prompts, n >= 1, maxTokens >= 1 and n seeds a prompt', 'seeds')
        if not temperature >= 0 or not 0 < topP <= 1:
            raise TrainerError('ERR_PROTOCOL', 'sample: expected temperature >= 0 and 0 < topP <= 1', 'temperature')
        self.model.adapter_on = True
        yield from sample(self.model, prompts, n, temperature, topP, maxTokens, set(stop), seeds)
        yield {'done': True}


def choose_device(name):
    if name == 'cpu':
        return torch.device('cpu')
    if not re.match(r'cuda(:\d+)?$', name):
        raise TrainerError('ERR_PROTOCOL', f'device must be cpu, cuda or cuda:N, not {name}', 'device')
    if not torch.cuda.is_available():
        raise TrainerError('ERR_DEVICE', f'torch {torch.__version__} finds no CUDA device', 'device')
    device = torch.device(name if ':' in name else f'cuda:{os.environ.get("LOCAL_RANK", "0")}')
    if device.index >= torch.cuda.device_count():
        raise TrainerError('ERR_DEVICE', f'{name} is not there: torch finds {torch.cuda.device_count()} CUDA devices', 'device')
    torch.cuda.set_device(device)
    return device


def norm_of(tensors):
    return math.sqrt(sum(float(torch.linalg.vector_norm(tensor.float())) ** 2 for tensor in tensors))


def map_shared(name, shape, dtype):
    """A tensor in shared memory that Node made."""
    size = math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
    try:
        with open(f'/dev/shm/{name}', 'r+b') as file:
            memory = mmap.mmap(file.fileno(), size)
        # The mapping is enough: without its name nothing is left when both processes end, however they end.
        os.unlink(f'/dev/shm/{name}')
    except (OSError, ValueError) as error:
        raise TrainerError('ERR_SHM', f'/dev/shm/{name} of {size} bytes cannot be mapped: {error}', name)
    return torch.frombuffer(memory, dtype=dtype, count=math.prod(shape)).view(shape)


def ipc_handle(tensor):
    """The CUDA IPC handle of a tensor's allocation; memory of expandable segments has none that another program can open."""
    if 'expandable_segments:true' in os.environ.get('PYTORCH_CUDA_ALLOC_CONF', '').lower():
        raise TrainerError('ERR_SHM', 'PYTORCH_CUDA_ALLOC_CONF has expandable_segments, whose memory has no IPC handle', 'PYTORCH_CUDA_ALLOC_CONF')
    storage = tensor.untyped_storage() if hasattr(tensor, 'untyped_storage') else tensor.storage()
    device, handle, _, offset, *_ = storage._share_cuda_()
    # Since torch 2.4 a byte for the kind of the allocation precedes the 64 bytes.
    return {'handle': handle[-64:].hex(), 'device': device, 'offset': offset, 'length': tensor.numel()}


def pthread_openblas(maps):
    """The path of an OpenBLAS with a thread pool of its own among the mapped files; numpy's private copy is not torch's."""
    for path in re.findall(r'(/\S+)$', maps, re.MULTILINE):
        name = os.path.basename(path)
        # Debian's OpenMP build has the same name in another folder.
        is_openmp = 'openblas-openmp' in path
        if '/numpy' not in path and not is_openmp and ('openblas-pthread' in path or re.match(r'libopenblasp[-.]', name)):
            return path
    return None


def avoid_spinning():
    """Two thread pools that spin against each other cost more than half: 34 against 82 GFLOP/s with a passive OpenMP."""
    with open('/proc/self/maps') as maps:
        path = pthread_openblas(maps.read())
    if path and 'OMP_WAIT_POLICY' not in os.environ:
        print(f'trainer: {path} has its own threads; starting again with OMP_WAIT_POLICY=passive', file=sys.stderr, flush=True)
        os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ, OMP_WAIT_POLICY='passive'))


def read_requests(requests):
    with os.fdopen(3, 'rb') as lines:
        for line in lines:
            requests.put(line)
    # Node is gone: whatever runs is of no use.
    os._exit(1)


def main():
    # Ctrl-C goes to the whole foreground group; Node decides when to stop.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    avoid_spinning()
    torch.use_deterministic_algorithms(True, warn_only=True)
    answers = os.fdopen(4, 'w', encoding='utf-8')

    def answer(value, is_last=True):
        # The lines of a sampling request go out when a block is full: one write a candidate is slow.
        answers.write(json.dumps(value) + '\n')
        if is_last:
            answers.flush()

    requests = queue.Queue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    trainer = Trainer()
    while True:
        try:
            try:
                kind, fields = checked(json.loads(requests.get()))
            except ValueError as error:
                raise TrainerError('ERR_PROTOCOL', f'A request is no JSON: {error}', 'request')
            if kind == 'end':
                answer({})
                os._exit(0)
            result = getattr(trainer, 'buffers_' if kind == 'buffers' else kind)(**fields)
            for value in [result] if isinstance(result, dict) else result:
                answer(value, is_last=kind != 'sample' or 'done' in value)
        except TrainerError as error:
            answer({'error': {'code': error.code, 'message': error.message, 'where': error.where}})
        except (MemoryError, RuntimeError) as error:
            known = out_of_memory(error, trainer.device)
            if known is None:
                raise
            answer({'error': {'code': known.code, 'message': known.message, 'where': known.where}})


if __name__ == '__main__':
    main()
