// Other libraries on the same input. A peer that cannot run is left out, with a message that says why. To install them:
//   ONNXRUNTIME_NODE_INSTALL=skip npm ci --prefix bench/peers
//   PyTorch for python3 (Debian: python3-torch libopenblas0-openmp)
//   oneDNN 2.x (Debian: libdnnl-dev)
import { spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { logSoftmaxModel } from './peers/onnx.js';
import { plainRows } from './plain.js';

const peersRequire = createRequire(new URL('./peers/', import.meta.url));
const importPeer = (name) => import(pathToFileURL(peersRequire.resolve(name)).href);

const PEERS = { 'plain JavaScript': plain, PyTorch: torch, 'jax-js': jax, 'tfjs wasm': tfjs, onnxruntime: onnx };

const LINEAR_PEERS = { oneDNN, PyTorch: torchLinear };

/** The peers that run here, prepared for this input: { name, forward?, forwardBackward?, close? }. */
export const startPeers = (input, report) => start(PEERS, input, report);

/** The same for a linear head; `product` computes the logits only. */
export const startLinearPeers = (input, report) => start(LINEAR_PEERS, input, report);

/** The same for the policy-gradient update of bench/policy-gradient-update.bench.js. */
export const startPolicyPeers = (input, report) => start({ PyTorch: torchPolicyGradient }, input, report);

/** The calls of one kind as { name: call }. */
export const callsOf = (peers, kind) =>
  Object.fromEntries(peers.flatMap((peer) => (peer[kind] ? [[peer.name, peer[kind]]] : [])));

async function start(peers, input, report) {
  const running = [];
  for (const [name, startPeer] of Object.entries(peers)) {
    try {
      running.push(await startPeer(input, report));
    } catch (error) {
      report(`${name} is left out: ${String(error.message).split('\n')[0]}`);
    }
  }
  return running;
}

function oneDNN({ hidden, weight, rows, width, vocab, dtype, threads }) {
  const folder = fileURLToPath(new URL('../build/bench', import.meta.url));
  const build = spawnSync('cmake', ['--build', folder, '--target', 'sweet_onednn'], { encoding: 'utf8' });
  if (build.status !== 0) {
    const reason = /error: .*|cannot find .*/.exec(build.stderr)?.[0] ?? 'the build failed';
    throw new Error(`${reason} (needs oneDNN 2.x and OpenMP; Debian: libdnnl-dev)`);
  }
  process.env.OMP_WAIT_POLICY = 'PASSIVE';
  const { product, version } = createRequire(import.meta.url)(`${folder}/sweet_onednn.node`);
  const run = () => product(hidden, weight, rows, width, vocab, dtype === 'bfloat16', threads) * 1e3;
  run(); // throws where the CPU lacks an instruction set that the product needs
  return { name: `oneDNN ${version}, matrix product only`, product: Object.assign(run, { timesItself: true }) };
}

function torchLinear({ rows, width, vocab, dtype, threads }, report) {
  return torchProcess('torch_linear.py', [rows, width, vocab, dtype, threads], report);
}

function torchPolicyGradient({ rows, width = 0, vocab, threads, entropyCoef }, report) {
  return torchProcess('torch_policy_gradient.py', [rows, width, vocab, threads, entropyCoef], report);
}

function plain({ logits, labels, rows, vocab }) {
  const { forward, backward } = plainRows({ logits, labels }, vocab);
  const ones = new Float32Array(rows).fill(1);
  const forwardBackward = () => {
    forward();
    backward(ones);
  };
  return { name: 'plain JavaScript, 1 thread', forward, forwardBackward };
}

function torch({ rows, vocab, threads }, report) {
  return torchProcess('torch_rows.py', [rows, vocab, threads], report);
}

/** A Python process that runs what is written to its stdin and answers with its own time. */
async function torchProcess(file, args, report) {
  const python = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', 'import torch']).status === 0);
  if (python === undefined) {
    throw new Error('no python3 here can import torch (Debian: python3-torch libopenblas0-openmp)');
  }
  const script = fileURLToPath(new URL(`./peers/${file}`, import.meta.url));
  const child = spawn(python, [script, ...args.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      // Threads that spin while they wait would take time from what is measured next.
      OMP_WAIT_POLICY: 'PASSIVE',
      // OpenBLAS detects the CPU itself.
      OPENBLAS_CORETYPE: undefined,
      OPENBLAS_L2_SIZE: undefined,
    },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { version, blas, warning } = JSON.parse((await lines.next()).value);
  if (warning) report(`PyTorch uses ${blas}, ${warning}; install libopenblas0-openmp (Debian)`);
  const run = (what) =>
    Object.assign(
      async () => {
        child.stdin.write(`${what}\n`);
        return Number((await lines.next()).value);
      },
      { timesItself: true },
    );
  return {
    name: [`PyTorch ${version}`, blas].filter(Boolean).join(', '),
    forward: run('forward'),
    forwardBackward: run('forwardBackward'),
    close: () => child.stdin.end(),
  };
}

async function jax({ logits, labels, rows, vocab }) {
  const { numpy: np, nn, vjp, jit, init } = await importPeer('@jax-js/jax');
  if (Number(process.versions.node.split('.')[0]) > 20) await init('wasm');
  const ones = new Float32Array(rows * vocab);
  for (let i = 0; i < rows; i++) ones[i * vocab + labels[i]] = 1;
  const oneHot = np.array(ones).reshape([rows, vocab]);
  const x = np.array(logits).reshape([rows, vocab]);
  const logps = jit((z, hot) => nn.logSoftmax(z, -1).mul(hot).sum(-1));
  const forward = () => logps(x.ref, oneHot.ref).dataSync();
  const forwardBackward = () => {
    const [value, pull] = vjp((z) => logps(z, oneHot.ref), [x.ref]);
    value.dispose();
    const [gradient] = pull(np.ones([rows]));
    pull.dispose?.();
    return gradient.dataSync();
  };
  forward();
  return { name: 'jax-js', forward, forwardBackward };
}

async function tfjs({ logits, labels, rows, vocab }) {
  const { default: tf } = await importPeer('@tensorflow/tfjs');
  const wasm = await importPeer('@tensorflow/tfjs-backend-wasm');
  const folder = peersRequire.resolve('@tensorflow/tfjs-backend-wasm').replace(/[^/]*$/, '');
  (wasm.setWasmPaths ?? wasm.default.setWasmPaths)(folder);
  await tf.setBackend('wasm');
  await tf.ready();
  const x = tf.tensor2d(logits, [rows, vocab]);
  const oneHot = tf.oneHot(tf.tensor1d(labels, 'int32'), vocab).toFloat();
  const logps = (z) => tf.sum(tf.mul(tf.logSoftmax(z), oneHot), -1);
  const gradient = tf.grad((z) => tf.sum(logps(z)));
  const tidy = (call) => () => tf.tidy(() => call(x).dataSync());
  return { name: 'tfjs wasm', forward: tidy(logps), forwardBackward: tidy(gradient) };
}

async function onnx({ logits, rows, vocab, threads }) {
  const { default: ort } = await importPeer('onnxruntime-node');
  const session = await ort.InferenceSession.create(logSoftmaxModel(rows, vocab), {
    intraOpNumThreads: threads,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const x = new ort.Tensor('float32', logits, [rows, vocab]);
  return {
    name: `onnxruntime ${ort.env.versions.common}`,
    forward: () => session.run({ x }),
    close: () => session.release(),
  };
}
