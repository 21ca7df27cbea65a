// Held calls, and what became of them: the deferral behind an answer, what else was queued, what the provider was sent.

import { Agent, fetch as undiciFetch } from 'undici';
import { SIMULATOR } from './servers.mjs';

export const STREAMED = { headers: { 'x-defer': 'batch' } };
export const UNTIL_DEADLINE = { headers: { 'x-defer': 'batch', 'x-defer-wait': 'deadline' } };
// Waits up to 4.5 s are silent here; longer ones, and those until the deadline, are kept alive.
export const SILENT = { headers: { 'x-defer': 'batch', 'x-defer-wait': '4s' } };

/** A held call that does not stream: what the SDK made of it, its text, and the deferral's id. */
export async function created(messages, prompt) {
  const call = messages.create(prompt, UNTIL_DEADLINE);
  const response = await call.asResponse();
  // A copy, since the SDK reads it too.
  const [text, message] = await Promise.all([response.clone().text(), call]);
  return { message, text, id: response.headers.get('x-defer-id') };
}

/** A held call that streams: what the SDK rebuilt from the events, and the deferral's id. */
export async function streamed(messages, prompt) {
  const stream = messages.stream(prompt, STREAMED);
  const message = await stream.finalMessage();
  return { message, id: stream.response.headers.get('x-defer-id') };
}

/** A deferral, and its raw text. */
export async function shown(gateway, id) {
  const text = await (await gateway.get(`/deferred/${id}`).asResponse()).text();
  return { ...JSON.parse(text), text };
}

/** All that this credential has deferred. */
export async function deferrals(gateway) {
  return (await gateway.get('/deferred?limit=100')).data;
}

/** How many items with what this call says this credential's batches have had at the provider. */
export async function timesSent(direct, prompt) {
  const said = JSON.stringify(prompt.messages[0].content);
  let times = 0;
  for await (const { id } of direct.messages.batches.list()) {
    const items = await (await fetch(`${SIMULATOR}/_sim/books/batches/${id}`)).text();
    times += items.split(said).length - 1;
  }
  return times;
}

/** Arms a fault that strikes the next requests of this credential at an endpoint. */
export async function arm(credential, endpoint, effect, times = 1) {
  const body = JSON.stringify({ credential, endpoint, times, effect });
  const armed = await fetch(`${SIMULATOR}/_sim/faults`, { method: 'POST', body });
  if (!armed.ok) throw new Error(await armed.text());
}

/** Node's own client, which gives up after so much silence; five minutes, unless it is told otherwise. */
export function patient(milliseconds) {
  const dispatcher = new Agent({ headersTimeout: milliseconds, bodyTimeout: milliseconds });
  return (url, options) => undiciFetch(url, { ...options, dispatcher });
}
