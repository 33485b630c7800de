/** Whether answers can be run in a sandbox here: many containers forbid namespaces. */
import { spawnSync } from 'node:child_process';

const { error, status } = spawnSync(
  'bwrap',
  ['--unshare-user', '--unshare-all', '--ro-bind', '/', '/', '--', '/bin/true'],
  { timeout: 60_000 },
);

/** Where bubblewrap is missing, its tests are left out, but CI must have it. */
export const namespaces = error === undefined ? status === 0 : process.platform === 'linux' && Boolean(process.env.CI);
