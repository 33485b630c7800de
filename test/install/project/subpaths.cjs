// Every subpath loads with nothing else installed; shared memory and safetensors work.
const { openShm, unlinkShm } = require('sweet-rl/shm');
const { parseSafetensors, serializeSafetensors } = require('sweet-rl/safetensors');
const { criticValueAndGrad } = require('sweet-rl/jax');
const { criticLoss } = require('sweet-rl/tfjs');
const { whiten } = require('sweet-rl/objectives');

const name = `sweet-rl-install-${process.pid}`;
const shm = openShm(name, { create: true, byteLength: 64 });
const floats = shm.float32(0, 16);
floats.fill(1.5);
const { tensors } = parseSafetensors(serializeSafetensors({ tensors: { floats } }));
shm.close();
unlinkShm(name);
if (floats.length !== 0) throw new Error('a closed mapping still has its views');
if (!tensors.floats.data.every((x) => x === 1.5)) throw new Error('safetensors are not what was written');
if (!criticValueAndGrad || !criticLoss) throw new Error('an adapter is missing');
if (whiten({ advantages: Float64Array.of(1, 3) }).mean !== 2) throw new Error('objectives give another mean');
console.log('shm safetensors jax tfjs objectives');
