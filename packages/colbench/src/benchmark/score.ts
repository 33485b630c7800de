/** Scores of candidates: the mean log-ratio of the critic against the reference, by several rules. */

/** Log-probs of a candidate's tokens under one model. */
export interface CandidateLogps {
  /** Of the header's tokens; needed by the released rule. */
  header?: ArrayLike<number>;
  /** Of the content, without the end token. */
  content: ArrayLike<number>;
  /** Of the end token; undefined where the candidate was cut before it. */
  end?: number | undefined;
}

export interface ScoreRule {
  /** 'mean' over tokens (the paper), or 'sum'. */
  reduction: 'mean' | 'sum';
  /**
   * 'content+end': both models over content and end token, the default. 'content': without the end token. 'released':
   * the critic over header and content, the reference over content and end token.
   */
  tokens: 'content+end' | 'content' | 'released';
}

const list = (values: ArrayLike<number> | undefined) => Array.from(values ?? []);

/** The tokens of one model that count. */
function counted({ header, content, end }: CandidateLogps, tokens: ScoreRule['tokens'], critic: boolean): number[] {
  if (tokens === 'content') return list(content);
  if (tokens === 'released' && critic) return [...list(header), ...list(content)];
  return [...list(content), ...(end === undefined ? [] : [end])];
}

/** The mean or the sum of the log-probs of one model; 0 without a token. */
export function reduced(logps: CandidateLogps, { reduction, tokens }: ScoreRule, critic: boolean): number {
  const values = counted(logps, tokens, critic);
  const sum = values.reduce((total, logp) => total + logp, 0);
  return reduction === 'sum' || values.length === 0 ? sum : sum / values.length;
}

/**
 * The score of a candidate: its advantage under the critic.
 *
 *     A = mean_i (log pi_critic(i) - log pi_reference(i))
 *
 * @see arXiv 2503.15478, Eq. 3
 */
export const scoreOf = (critic: CandidateLogps, reference: CandidateLogps, rule: ScoreRule): number =>
  reduced(critic, rule, true) - reduced(reference, rule, false);
