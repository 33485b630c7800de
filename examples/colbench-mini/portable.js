/**
 * Imported first where a run has to give the same numbers on other machines: training turns differences of rounding,
 * as between two instruction sets, into differences of a few points.
 */
process.env.SWEET_RL_BACKEND ??= 'portable';
