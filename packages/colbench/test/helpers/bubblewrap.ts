/** Whether the sandbox is available here; many containers forbid namespaces. */
import { spawnSync } from 'node:child_process';

const { error, status } = spawnSync(
  'unshare',
  [
    '--user',
    '--map-root-user',
    '--mount',
    'bwrap',
    '--unshare-user',
    '--unshare-all',
    '--ro-bind',
    '/',
    '/',
    '--',
    '/bin/true',
  ],
  { timeout: 60_000 },
);

/** Without bubblewrap its tests are skipped, except in CI. */
export const namespaces = error === undefined ? status === 0 : process.platform === 'linux' && Boolean(process.env.CI);
