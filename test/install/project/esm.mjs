import * as sweetRl from 'sweet-rl';
import check from './check.cjs';

console.log(check(sweetRl));
