// Loads the addon of sweet-rl-cuda. The environment variable SWEET_RL_CUDA names the file of another build.
const { version } = require('../../package.json') as { version: string };

export interface Loaded {
  addon?: unknown;
  /** Why the addon cannot be loaded. */
  reason?: string;
}

export function load(): Loaded {
  try {
    const addon = require(process.env.SWEET_RL_CUDA || 'sweet-rl-cuda') as { version: string };
    if (addon.version === version) return { addon };
    return {
      reason: `sweet-rl-cuda ${addon.version} does not match sweet-rl ${version}: install the same version of both`,
    };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const missing = code === 'MODULE_NOT_FOUND' && message.includes("'sweet-rl-cuda'");
    return {
      reason: missing ? 'sweet-rl-cuda is not installed' : `sweet-rl-cuda cannot be loaded: ${firstLine(message)}`,
    };
  }
}

const firstLine = (text: string): string => text.split('\n', 1)[0] as string;
