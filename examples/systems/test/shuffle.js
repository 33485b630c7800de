/**
 * Loaded before a program (node --import): the results of the function of sweet-rl/objectives that SHUFFLED names are shuffled, so
 * that they say nothing any more. What a program then reaches is not due to that function.
 */
import { register } from 'node:module';

register('./shuffle-hooks.js', import.meta.url);
