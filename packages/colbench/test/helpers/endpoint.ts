/** A local endpoint of chat completions. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

export interface Asked {
  messages: { role: string; content: string }[];
  [field: string]: unknown;
}

/** What the endpoint replies: a message, choices, an HTTP status, or nothing. */
export type Answer = string | { choices: unknown[] } | { status: number; text: string } | undefined;

/** @returns its address, and the requests so far */
export async function endpoint(answer: (asked: Asked) => Answer) {
  const requests: Asked[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      const asked = JSON.parse(body) as Asked;
      requests.push(asked);
      const reply = answer(asked);
      if (reply === undefined) return;
      if (typeof reply === 'string') response.end(JSON.stringify({ choices: [{ message: { content: reply } }] }));
      else if ('status' in reply) response.writeHead(reply.status).end(reply.text);
      else response.end(JSON.stringify(reply));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, requests };
}
