/** What the compiler says of a wrong call: the missing option, not the other forms of the function. */
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';

const FILE = fileURLToPath(new URL('wrong-call.ts', import.meta.url));

/** The errors in a module that has this text. */
function errorsIn(text: string): string[] {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) =>
    name === FILE ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  host.fileExists = (name) => name === FILE || fileExists(name);
  host.readFile = (name) => (name === FILE ? text : readFile(name));
  const program = ts.createProgram([FILE], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

const HEAD = `import { criticUpdate } from 'sweet-rl';
const [logits, labels, offsets] = [new Float32Array(4), new Int32Array(2), Int32Array.of(0, 1, 2)];
const batch = { logits, labels, turnOffsets: offsets, trajectoryOffsets: offsets, chosen: offsets, rejected: offsets };
`;

it.each([
  ['a missing reference', 'criticUpdate(batch);', /'refLogps' is missing/],
  ['a misspelt option', 'criticUpdate({ ...batch, refLogps: logits, bta: 1 });', /Did you mean to write 'beta'/],
])('%s', (_, call, expected) => {
  const errors = errorsIn(HEAD + call);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatch(expected);
  expect(errors[0]).not.toMatch(/DeviceBuffer/);
});
