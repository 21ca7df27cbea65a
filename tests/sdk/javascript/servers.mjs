// The two servers under test, clients for them, and how their answers are compared.

import { randomBytes } from 'node:crypto';
import Anthropic from '@anthropic-ai/sdk';

export const SIMULATOR = process.env.OFFPEAK_TEST_SIM_URL;
export const GATEWAY = process.env.OFFPEAK_TEST_GATEWAY_URL;

// One answer of each kind that a client has to take apart or rebuild.
export const KINDS = [
  'plain', 'thinking', 'redacted', 'citations', 'json', 'lines', 'server_tool', 'code_execution', 'unknown-block',
  'tool_use', 'bare_tool', 'refusal', 'pause_turn', 'stop_sequence', 'long:300',
];
// Those that only the SDK's beta client takes apart.
export const BETA_KINDS = ['compaction', 'mcp'];

/** A credential that nobody else has, and a client for each server with it. */
export function tenant() {
  const apiKey = `sk-ant-${randomBytes(6).toString('hex')}-1`;
  return { apiKey, direct: client(SIMULATOR, apiKey), gateway: client(GATEWAY, apiKey) };
}

/** A client that does not retry unless it is told to: what the server said first is what is compared. */
export function client(baseURL, apiKey, options = {}) {
  return new Anthropic({ baseURL, apiKey, authToken: null, maxRetries: 0, timeout: 90_000, ...options });
}

/** A call that no other test makes, with an answer of that kind, or with that error: `error:overloaded_error`. */
export function promptFor(kind) {
  return {
    model: 'claude-haiku-4-5',
    max_tokens: 1000,
    system: 'Be brief.',
    tools: [{ name: 'get_weather', input_schema: { type: 'object', properties: { place: { type: 'string' } } } }],
    stop_sequences: ['END'],
    messages: [{ role: 'user', content: `[${kind}] About ${randomBytes(8).toString('hex')}: æ, "quotes", 日本語.` }],
  };
}

/** A text without what differs from one answer to the next however it travelled: ids, times, the origin of a URL. */
export function lasting(text) {
  return text
    .replaceAll(/\b(msg|msgbatch|req|toolu|wrkspc)_\w+/g, '$1_…')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME')
    .replaceAll(SIMULATOR, 'ORIGIN')
    .replaceAll(GATEWAY, 'ORIGIN');
}

// Headers that belong to one connection or one moment, and the one that the gateway adds to each call.
const OWN_HEADERS = new Set(['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'x-defer-decision']);

/** An answer as it can be compared: status, headers, text. */
export async function exchange(response) {
  const headers = [...response.headers].filter(([name]) => !OWN_HEADERS.has(name));
  return [response.status, headers.map(([name, value]) => `${name}: ${lasting(value)}`), lasting(await response.text())];
}

/** What `look` gives as soon as it is `good`; a look takes a moment, and none may take more than a minute in all. */
export async function until(look, good) {
  const limit = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    if (good(seen)) return seen;
    if (Date.now() > limit) throw new Error('still not there after a minute');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
