// An ONNX model of one LogSoftmax node, encoded as protocol buffers: each field is a key, then a varint or a length and bytes.

function varint(n) {
  const bytes = [];
  for (let rest = BigInt.asUintN(64, BigInt(n)); ; rest >>= 7n) {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    if (rest <= 0x7fn) return Buffer.from(bytes);
  }
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);

function message(field, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
}

const FLOAT = 1;
const INT_ATTRIBUTE = 2;

export function logSoftmaxModel(rows, vocab) {
  const dimension = (size) => message(1, number(1, size));
  const tensor = (field, name) =>
    message(
      field,
      message(1, name),
      message(2, message(1, number(1, FLOAT), message(2, dimension(rows), dimension(vocab)))),
    );
  const axis = message(5, message(1, 'axis'), number(3, -1), number(20, INT_ATTRIBUTE));
  const node = message(1, message(1, 'x'), message(2, 'y'), message(4, 'LogSoftmax'), axis);
  const graph = message(7, node, message(2, 'rows'), tensor(11, 'x'), tensor(12, 'y'));
  return Buffer.concat([number(1, 8), graph, message(8, message(1, ''), number(2, 17))]);
}
