/** A maze in text: walls are "#", "S" is the start, "G" the goal; with a "K", the goal opens to who has been there first. */
const MAP = ['S..K', '.#..', '.#..', 'G...'];

export const moves = ['north', 'east', 'south', 'west'];
const STEPS = [
  [-1, 0],
  [0, 1],
  [1, 0],
  [0, -1],
];

const find = (map, letter) => {
  const row = map.findIndex((line) => line.includes(letter));
  return [row, map[row].indexOf(letter)];
};

/** A walk from the start. @param {string[]} [map] */
export class Maze {
  #map;
  #at;
  #hasKey;
  done = false;

  constructor(map = MAP) {
    this.#map = map;
    this.#at = find(map, 'S');
    this.#hasKey = !map.some((line) => line.includes('K'));
  }

  /** What the agent sees. */
  get observation() {
    return `row ${this.#at[0]}, column ${this.#at[1]}, ${this.#hasKey ? 'key' : 'no key'}`;
  }

  /** Goes in the direction of a move; a wall and the border hold it back. @param {number} move */
  go(move) {
    const [row, column] = [this.#at[0] + STEPS[move][0], this.#at[1] + STEPS[move][1]];
    const letter = this.#map[row]?.[column] ?? '#';
    if (letter === '#') return;
    this.#at = [row, column];
    if (letter === 'K') this.#hasKey = true;
    this.done = letter === 'G' && this.#hasKey;
  }
}
