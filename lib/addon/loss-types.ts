// Generated from native/loss_types.h by `npm run generate`. Do not edit.

/** Of each loss type: what it is a function of, whether it needs a reference, divides by the length, and its options. */
export const LOSS_TYPES = {
  sigmoid: { kind: 'margin', reference: true, perToken: false, options: ['labelSmoothing', 'fDivergence', 'dpopLambda'] },
  hinge: { kind: 'margin', reference: true, perToken: false, options: ['fDivergence'] },
  ipo: { kind: 'margin', reference: true, perToken: false, options: ['fDivergence'] },
  sigmoid_norm: { kind: 'margin', reference: true, perToken: true, options: ['labelSmoothing', 'fDivergence'] },
  cpo: { kind: 'margin', reference: false, perToken: false, options: ['labelSmoothing', 'fDivergence'] },
  simpo: { kind: 'margin', reference: false, perToken: true, options: ['labelSmoothing', 'gamma', 'fDivergence'] },
  robust: { kind: 'margin', reference: true, perToken: false, options: ['labelSmoothing', 'fDivergence'] },
  exo_pair: { kind: 'margin', reference: true, perToken: false, options: ['labelSmoothing', 'fDivergence'] },
  discopop: { kind: 'margin', reference: true, perToken: false, options: ['discopopTau', 'fDivergence'] },
  nca_pair: { kind: 'separate', reference: true, perToken: false, options: ['fDivergence'] },
  bco_pair: { kind: 'separate', reference: true, perToken: false, options: ['fDivergence'] },
  sppo_hard: { kind: 'separate', reference: true, perToken: false, options: ['fDivergence'] },
  apo_zero: { kind: 'separate', reference: true, perToken: false, options: [] },
  apo_down: { kind: 'joint', reference: true, perToken: false, options: ['fDivergence'] },
  orpo: { kind: 'joint', reference: false, perToken: true, options: [] },
  aot: { kind: 'batch', reference: true, perToken: false, options: ['labelSmoothing'] },
  aot_unpaired: { kind: 'batch', reference: true, perToken: false, options: ['labelSmoothing'] },
  sft: { kind: 'nll', reference: false, perToken: false, options: [] },
} as const;
