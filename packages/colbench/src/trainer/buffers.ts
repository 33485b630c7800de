/** The memory that Node and the trainer share: hidden states and the head's weight one way, their gradients the other. */
import { randomBytes } from 'node:crypto';
import { openShm, type SharedMapping, unlinkShm } from 'sweet-rl/shm';
import { CommandError } from '../errors.js';
import type { Trainer } from './process.js';
import type { Hello, ModelDescription } from './protocol.js';

type Storage = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

export interface Buffers {
  maxRows: number;
  /** [maxRows, H], the first rows are those of the last forward. */
  hidden: Storage;
  /** [V, H], current after each step. */
  weight: Storage;
  /** [maxRows, H]; absent where nothing is trained. */
  gradHidden: Float32Array<ArrayBuffer> | undefined;
  /** [V, H]; absent where the head is frozen. */
  gradWeight: Float32Array<ArrayBuffer> | undefined;
  close(): void;
}

/** Creates the buffers and gives them to the trainer, which removes their names: no entry of /dev/shm outlives this call. */
export async function createBuffers(
  trainer: Trainer,
  { H, V, trained, lora }: ModelDescription,
  dtype: Hello['dtype'],
  maxRows: number,
  openMemory: typeof openShm = openShm,
): Promise<Buffers> {
  const size = dtype === 'float32' ? 4 : 2;
  const bytes: Record<string, number> = { hidden: maxRows * H * size, weight: V * H * size };
  if (trained > 0) bytes.gradHidden = maxRows * H * 4;
  if (trained > 0 && lora === null) bytes.gradWeight = V * H * 4;
  const prefix = `colbench-${process.pid}-${randomBytes(4).toString('hex')}`;
  const names: Record<string, string> = {};
  const mappings: Record<string, SharedMapping> = {};
  const close = () => {
    for (const mapping of Object.values(mappings)) mapping.close();
  };
  try {
    for (const [name, byteLength] of Object.entries(bytes)) {
      const full = `${prefix}-${name}`;
      mappings[name] = openMemory(full, { create: true, byteLength });
      names[name] = full;
    }
    await trainer.request('buffers', { maxRows, ...(names as { hidden: string; weight: string }) });
  } catch (error) {
    close();
    throw isShm(error) ? shmError(bytes, error) : error;
  } finally {
    for (const name of Object.values(names)) unlinkIfThere(name);
  }
  const view = (name: string, count: number, type: Hello['dtype']) =>
    type === 'float32' ? mappings[name]?.float32(0, count) : mappings[name]?.uint16(0, count);
  return {
    maxRows,
    hidden: view('hidden', maxRows * H, dtype) as Storage,
    weight: view('weight', V * H, dtype) as Storage,
    gradHidden: view('gradHidden', maxRows * H, 'float32') as Buffers['gradHidden'],
    gradWeight: view('gradWeight', V * H, 'float32') as Buffers['gradWeight'],
    close,
  };
}

const isShm = (error: unknown): error is Error & { code: string } => (error as { code?: string }).code === 'ERR_SHM';

function shmError(bytes: Record<string, number>, error: Error): CommandError {
  const total = Object.values(bytes).reduce((sum, size) => sum + size, 0);
  const help =
    'a container gets more by docker run --shm-size (Kubernetes: an emptyDir with medium Memory at /dev/shm)';
  const less = '--micro-tokens lowers it';
  return new CommandError(
    'ERR_SHM',
    `The trainer needs ${total} bytes of /dev/shm: ${error.message}; ${help}; ${less}`,
    {
      cause: error,
    },
  );
}

function unlinkIfThere(name: string): void {
  try {
    unlinkShm(name);
  } catch (error) {
    if (!isShm(error)) throw error;
  }
}
