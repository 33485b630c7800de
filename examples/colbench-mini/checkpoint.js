/** Parameters in a safetensors file: 8-byte little-endian header length, JSON header, raw float32. */
import { readFileSync } from 'node:fs';
import { writeAtomically } from './cache.js';

/** @param {string | URL} path @param {import('./model.js').Params} params */
export function saveParams(path, params) {
  const header = {};
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(params)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const blobs = Object.values(params).map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  writeAtomically(path, Buffer.concat([length, json, ...blobs]));
}

/** @param {string | URL} path @returns {import('./model.js').Params} */
export function loadParams(path) {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, start));
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const data = new Float32Array((to - from) / 4);
        Buffer.from(data.buffer).set(file.subarray(start + from, start + to));
        return [name, { shape, data }];
      },
    ),
  );
}
