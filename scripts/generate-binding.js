// Writes both sides of the addon's boundary from binding/operations.js.
//   npm run generate               (test/addon/operations.test.ts fails where the committed files differ)
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { enums, faults, groups, operations } from '../binding/operations.js';
import { lossTypes } from './loss-types.js';

const HEADER = '// Generated from binding/operations.js by `npm run generate`. Do not edit.';

const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/^_/, '');
const pascal = (name) => name[0].toUpperCase() + name.slice(1);
const constant = (name) => (name === 'DType' ? 'DTYPE' : snake(name).toUpperCase());
const fieldsOf = (fields) => Object.entries(fields).map(([name, type]) => ({ name, type }));
const groupOf = (type) => (type.kind === 'group' ? type : { name: type, parameters: [] });

const SCALARS = { int: 'number', number: 'number', bool: 'boolean' };
const ELEMENTS = ['void', 'uint8_t', 'int32_t', 'float', 'double'];

/** Throws an error that names the operation or group and the field whose type is not known. */
export function checkTypes(table) {
  for (const [owner, { fields = {}, variants = {} }] of Object.entries({ ...table.groups, ...table.operations })) {
    for (const [name, type] of Object.entries({ ...fields, ...variants })) {
      const array = type?.kind === 'array';
      const known = array ? ELEMENTS : Object.keys({ ...SCALARS, ...table.enums, ...table.groups });
      const given = array ? type.type.replace('const ', '') : (type?.name ?? type);
      if (known.includes(given)) continue;
      const rule = `${array ? 'elements' : 'a type'} of ${known.join(', ')}${array ? '' : ', reads(...), writes(...)'}`;
      throw new Error(`Expected ${rule} for ${owner}.${name} of binding/operations.js but received ${given}`);
    }
  }
}

// -- C++: a function for each group that reads its fields in their order

function readField({ name, type }, struct) {
  const member = `${struct}.${snake(name)}`;
  if (type.kind === 'array') {
    const { type: element, count, optional } = type;
    return `${member} = args.${optional ? 'optional_array' : 'array'}<${element}>(${count});`;
  }
  if (type === 'int') return `${member} = args.integer();`;
  if (type === 'number') return `${member} = args.number();`;
  if (type === 'bool') return `${member} = args.boolean();`;
  if (type in enums) return `${member} = args.choice<${type}>(${enums[type].length});`;
  if (type.kind === 'list') {
    return `${struct}.count = args.count(${type.most});
  for (int64_t i = 0; i < ${struct}.count; i++) read_${snake(type.name)}(args, ${member}[i]);`;
  }
  const { name: group, parameters } = groupOf(type);
  return `read_${snake(group)}(args, ${[member, ...parameters].join(', ')});`;
}

function readGroup([name, { struct = name, parameters = {}, fields, variants, requires }]) {
  const names = Object.keys(parameters);
  const signature = [`Args& args, ${struct}& g`, ...names.map((each) => `${parameters[each]} ${each}`)].join(', ');
  const body = fields
    ? [...fieldsOf(fields).map((field) => readField(field, 'g')), ...(requires ? [`args.require(${requires});`] : [])]
    : Object.values(variants).map((variant, i) => {
        const given = Object.keys(groups[variant].parameters ?? {});
        return `${i === 0 ? 'if (!args.boolean()) return' : 'return'} read_${snake(variant)}(${['args', 'g', ...given].join(', ')});`;
      });
  return `void read_${snake(name)}(${signature}) {\n${body.map((line) => `  ${line}\n`).join('')}}\n`;
}

function bindOperation([name, { fields, requires, returns, otherwise, device = true }]) {
  const reads = fieldsOf(fields).map((field) => `  ${readField(field, 'g')}\n`);
  if (requires) reads.push(`  args.require(${requires});\n`);
  const call = `[=] { return ${snake(name)}(g); }`;
  const result = returns ? `args.compute(${call}, ${otherwise})` : `args.perform(${call})`;
  const text = `CallResult bind_${snake(name)}(const CallInfo& info) {
  Args args(info);
  ${pascal(name)} g{};
${reads.join('')}  return ${result};
}
`;
  return device ? text : `#ifndef SWEET_CUDA_ADDON\n${text}#endif\n`;
}

function registration([name, { async = false, device = true }]) {
  const line = `  add_operation(exports, "${name}", bind_${snake(name)}, ${async});\n`;
  return device ? line : `#ifndef SWEET_CUDA_ADDON\n${line}#endif\n`;
}

function enumCheck([name, values]) {
  const check = (value, i) => `static_cast<int>(${name}::${value.replaceAll('-', '_')}) == ${i}`;
  return `static_assert(${values.map(check).join(' && ')});\n`;
}

function cppSource() {
  const headers = [...new Set(Object.values(operations).map(({ header }) => header))];
  return `${HEADER}
${headers.map((header) => `#include "../../native/${header}.h"\n`).join('')}#include "args.h"  // binding/args.h, or binding/wasm/args.h

namespace sweet {
namespace {

${Object.entries(enums).map(enumCheck).join('')}${enumCheck(['Code', ['ok', ...faults.map(snake)]])}
${Object.entries(groups).map(readGroup).join('\n')}
${Object.entries(operations).map(bindOperation).join('\n')}
}  // namespace

const char* fault_name(Code code) {
  static const char* const names[] = {"ok", ${faults.map((name) => `"${name}"`).join(', ')}};
  return names[static_cast<int>(code)];
}

void register_operations(Exports exports) {
${Object.entries(operations).map(registration).join('')}}

}  // namespace sweet
`;
}

// -- TypeScript: an interface for each group, and a function that appends its fields in their order

function typeOf(type) {
  if (type.kind === 'array') return type.optional ? 'View | undefined' : 'View';
  if (type.kind === 'list') return `readonly ${type.name}[]`;
  return SCALARS[type] ?? groupOf(type).name;
}

const isGroup = (type) => type.kind !== 'array' && !(type in SCALARS) && !(type in enums);

function pushFields(fields) {
  const lines = [];
  let values = [];
  const flush = () => {
    if (values.length > 0) lines.push(`  to.push(${values.join(', ')});\n`);
    values = [];
  };
  for (const { name, type } of fieldsOf(fields)) {
    if (type.kind === 'list') {
      values.push(`g.${name}.length`);
      flush();
      lines.push(`  for (const each of g.${name}) push${type.name}(to, each);\n`);
    } else if (isGroup(type)) {
      flush();
      lines.push(`  push${groupOf(type).name}(to, g.${name});\n`);
    } else {
      values.push(type in enums ? `${constant(type)}[g.${name}]` : `g.${name}`);
    }
  }
  flush();
  return lines.join('');
}

function interfaceOf(name, fields, kind) {
  const members = fieldsOf(fields).map(({ name: field, type }) => `  ${field}: ${typeOf(type)};\n`);
  return `export interface ${name} {\n${kind ? `  kind: '${kind}';\n` : ''}${members.join('')}}\n`;
}

function kindOf(name) {
  for (const { variants = {} } of Object.values(groups)) {
    for (const [kind, variant] of Object.entries(variants)) if (variant === name) return kind;
  }
  return undefined;
}

function tsGroup([name, { fields, variants }]) {
  const push = (body) => `\nfunction push${name}(to: unknown[], g: ${name}): void {\n${body}}\n`;
  if (fields) return interfaceOf(name, fields, kindOf(name)) + push(pushFields(fields));
  const [[first, a], [, b]] = Object.entries(variants);
  return `export type ${name} = ${a} | ${b};\n${push(
    `  to.push(g.kind !== '${first}');\n  if (g.kind === '${first}') push${a}(to, g);\n  else push${b}(to, g);\n`,
  )}`;
}

function tsOperation([name, { fields }]) {
  return `${interfaceOf(pascal(name), fields)}
function ${name}(g: ${pascal(name)}): unknown[] {
  const to: unknown[] = [];
${pushFields(fields)}  return to;
}
`;
}

function tsEnum([name, values]) {
  const numbers = values.map((value, i) => `${/-/.test(value) ? `'${value}'` : value}: ${i}`);
  return `export const ${constant(name)} = { ${numbers.join(', ')} } as const;
export type ${name} = keyof typeof ${constant(name)};\n`;
}

function tsSource() {
  const names = Object.keys(operations);
  const quoted = (condition, separator) =>
    names
      .filter((name) => condition(operations[name]))
      .map((name) => `'${name}'`)
      .join(separator);
  return `${HEADER}

/** A typed array, or the device buffer that takes its place. */
export type View = ArrayBufferView & { readonly length: number };

${Object.entries(enums).map(tsEnum).join('\n')}
${Object.entries(groups).map(tsGroup).join('\n')}
${Object.entries(operations).map(tsOperation).join('\n')}
/** Why an operation fails, by its number in the native code less 1; faults.ts has the error of each. */
export const FAULTS = [${faults.map((name) => `'${name}'`).join(', ')}] as const;
export type FaultCode = (typeof FAULTS)[number];

/** The operations and their arguments. */
export interface Operations {
${names.map((name) => `  ${name}: ${pascal(name)};\n`).join('')}}

/** Those that also run on another thread. */
export const ASYNC_OPERATIONS = [${quoted(({ async }) => async, ', ')}] as const;
export type AsyncOperation = (typeof ASYNC_OPERATIONS)[number];

/** Those that the addon of sweet-rl-cuda has. */
export type DeviceOperation = ${quoted(({ device = true }) => device, ' | ')};

/** What a native function returns: undefined or the rule that its input breaks, or a number. */
export interface Returns<Fault> {
${names.map((name) => `  ${name}: ${operations[name].returns ? 'number' : 'Fault | undefined'};\n`).join('')}}

/** The arguments of the native functions, in their order. */
export const encode: { readonly [K in keyof Operations]: (call: Operations[K]) => unknown[] } = {
${names.map((name) => `  ${name},\n`).join('')}};
`;
}

function lossTypesSource() {
  const rows = lossTypes.map(({ name, kind, reference, perToken, options }) => {
    const quoted = options.map((option) => `'${option}'`).join(', ');
    return `  ${name}: { kind: '${kind}', reference: ${reference}, perToken: ${perToken}, options: [${quoted}] },\n`;
  });
  return `// Generated from native/loss_types.h by \`npm run generate\`. Do not edit.

/** Of each loss type: what it is a function of, whether it needs a reference, divides by the length, and its options. */
export const LOSS_TYPES = {
${rows.join('')}} as const;
`;
}

const PAGE = 'docs/guide/trl.md';
const root = new URL('../', import.meta.url);

/** The page with its table of the loss types. */
function lossTypesPage() {
  const rows = lossTypes.map(({ name, kind, reference, options, formula }) => {
    const taken = options.map((option) => `\`${option}\``).join(', ');
    const when = kind === 'batch' ? 'all pairs' : kind === 'nll' ? 'no pair' : 'a pair';
    return `| \`${name}\` | ${formula} | ${when} | ${reference ? 'yes' : 'no'} | ${taken} |\n`;
  });
  const table = `| type | loss | of | reference | options |\n| --- | --- | --- | --- | --- |\n${rows.join('')}`;
  const page = readFileSync(new URL(PAGE, root), 'utf8');
  return page.replace(
    /(<!-- loss types: .*-->\n)[\s\S]*(<!-- end of loss types -->)/,
    (_, begin, end) => `${begin}\n${table}\n${end}`,
  );
}

/** The generated files by their paths in the repository. */
export function generate() {
  checkTypes({ enums, groups, operations });
  return {
    'binding/generated/operations.cc': cppSource(),
    'lib/addon/operations.ts': tsSource(),
    'lib/addon/loss-types.ts': lossTypesSource(),
    [PAGE]: lossTypesPage(),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of Object.entries(generate())) writeFileSync(new URL(path, root), text);
}
