// The types of fields in the tables of this folder; see operations.js.

export const reads = (type, count) => ({ kind: 'array', type: `const ${type}`, count });
export const writes = (type, count) => ({ kind: 'array', type, count });
export const optional = (array) => ({ ...array, optional: true });
/** A group whose parameters get these values. */
export const group = (name, parameters) => ({ kind: 'group', name, parameters });
export const numbers = (...names) => Object.fromEntries(names.map((name) => [name, 'number']));
/** Up to `most` groups without parameters. */
export const list = (name, most) => ({ kind: 'list', name, most });
/** One of several groups, told apart by the field `kind`. */
export const oneOf = (struct, variants, parameters = {}) => ({ struct, parameters, variants });
