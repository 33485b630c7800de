// What needs nothing else to be installed, by its subpath: shared memory and safetensors.
const { openShm, unlinkShm } = require('sweet-rl/shm');
const { parseSafetensors, serializeSafetensors } = require('sweet-rl/safetensors');

const name = `sweet-rl-install-${process.pid}`;
const shm = openShm(name, { create: true, byteLength: 64 });
const floats = shm.float32(0, 16);
floats.fill(1.5);
const { tensors } = parseSafetensors(serializeSafetensors({ tensors: { floats } }));
shm.close();
unlinkShm(name);
if (floats.length !== 0) throw new Error('a closed mapping still has its views');
if (!tensors.floats.data.every((x) => x === 1.5)) throw new Error('safetensors are not what was written');
console.log('shm safetensors');
