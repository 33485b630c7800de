import { expect, it } from 'vitest';
import { createBuffers } from '../../src/trainer/buffers.js';
import type { Trainer } from '../../src/trainer/process.js';
import type { ModelDescription } from '../../src/trainer/protocol.js';

/** As openShm where /dev/shm is full. */
const full = () => {
  const reason = 'not enough shared memory is available (ENOSPC)';
  throw Object.assign(new Error(`The shared memory could not be created: ${reason}`), { code: 'ERR_SHM' });
};

it('ERR_SHM says how much is needed and how a container gets it', async () => {
  const model = { H: 64, V: 1000, trained: 1, lora: null } as unknown as ModelDescription;
  // hidden and gradHidden [10, 64], weight and gradWeight [1000, 64], float32.
  const bytes = 2 * 10 * 64 * 4 + 2 * 1000 * 64 * 4;
  await expect(createBuffers({} as Trainer, model, 'float32', 10, full)).rejects.toMatchObject({
    code: 'ERR_SHM',
    message: expect.stringMatching(
      new RegExp(`needs ${bytes} bytes of /dev/shm: .*ENOSPC.*--shm-size.*--micro-tokens`),
    ),
  });
});
