/**
 * Selects the portable backend, if imported before sweet-rl: a run then gives the same numbers on all machines.
 * Training amplifies rounding differences between instruction sets to a few points of success.
 */
process.env.SWEET_RL_BACKEND ??= 'portable';
