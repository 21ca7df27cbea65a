// Webhooks, verified with the reference library: to a receiver by name, to a callback, about a group, and once more.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import { arm, shown } from './held.mjs';
import { promptFor, tenant, until } from './servers.mjs';

const URLS = JSON.parse(process.env.OFFPEAK_TEST_RECEIVERS);
const SECRETS = JSON.parse(process.env.OFFPEAK_TEST_SECRETS);

/** A small receiver, as somebody would write one: it notes what comes, and answers `statuses` first, then 204. */
async function listening(port = 0, statuses = []) {
  const received = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    received.push({ path: request.url, headers: request.headers, body: Buffer.concat(chunks) });
    response.writeHead(statuses.shift() ?? 204).end();
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const isAbout = (name, { data }) => [data.id, data.name].includes(name);
  const about = (name) => received.filter(({ body }) => isAbout(name, JSON.parse(body)));
  return {
    port: server.address().port,
    of: (name, count = 1) => until(() => about(name), (seen) => seen.length >= count),
    close: () => (server.closeAllConnections(), server.close()),
  };
}

/** The event, which the library has verified with each of the secrets alone, as either side of a rotation would. */
function verified({ body, headers }, secrets) {
  const [event, again] = secrets.map((secret) => new Webhook(secret).verify(body, headers));
  assert.deepEqual(event, again);
  return event;
}

async function defer(gateway, kind, headers) {
  return (await gateway.messages.create(promptFor(kind), { headers: { 'x-defer': 'batch', ...headers } })).id;
}

describe('to a receiver by its name', () => {
  const named = { 'x-defer-callback': 'javascript' };
  let receiver;
  before(async () => (receiver = await listening(Number(new URL(URLS.javascript).port))));
  after(() => receiver.close());

  test('a result', async () => {
    const { gateway } = tenant();
    const id = await defer(gateway, 'lines', named);
    const [webhook] = await receiver.of(id);
    assert.equal(verified(webhook, SECRETS.javascript).type, 'deferral.succeeded');
    assert.ok(webhook.body.toString().endsWith(`"data":${(await shown(gateway, id)).text}}`));
  });

  test('a failure', async () => {
    const [webhook] = await receiver.of(await defer(tenant().gateway, 'error:not_found_error', named));
    const event = verified(webhook, SECRETS.javascript);
    assert.deepEqual([event.type, event.data.error.error.type], ['deferral.failed', 'not_found_error']);
  });

  test('what was canceled', async () => {
    const { apiKey, gateway } = tenant();
    await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '1h' });
    const id = await defer(gateway, 'plain', named);
    await gateway.post(`/deferred/${id}/cancel`);
    assert.equal(verified((await receiver.of(id))[0], SECRETS.javascript).type, 'deferral.canceled');
  });

  test('what was tampered with is not verified', async () => {
    const [{ body, headers }] = await receiver.of(await defer(tenant().gateway, 'plain', named));
    const verify = (secret, text, changes) => () => new Webhook(secret).verify(text, { ...headers, ...changes });
    verify(SECRETS.javascript[0], body)();
    const other = body.toString().replace('"succeeded"', '"failed"');
    assert.throws(verify(SECRETS.javascript[0], other), WebhookVerificationError);
    assert.throws(verify(SECRETS.javascript[0], body, { 'webhook-id': 'evt_0' }), WebhookVerificationError);
    assert.throws(verify(SECRETS.warehouse[0], body), WebhookVerificationError);
  });

  test('a group', async () => {
    const { apiKey, gateway } = tenant();
    const group = `night-${apiKey.slice(-10)}`;
    for (const kind of ['plain', 'tool_use']) await defer(gateway, kind, { 'x-defer-group': group });
    await gateway.post(`/deferred/groups/${group}/close`, { body: { callback: 'javascript', expect: 2 } });
    const event = verified((await receiver.of(group))[0], SECRETS.javascript);
    assert.deepEqual([event.type, event.data.counts.succeeded], ['group.completed', 2]);
    assert.deepEqual(event.data, await gateway.get(`/deferred/groups/${group}`));
  });
});

test('to a callback that does not take it at first: again, under the same id', async () => {
  const receiver = await listening(0, [500]);
  try {
    const callback = { 'x-defer-callback': `http://127.0.0.1:${receiver.port}/of/mine?row=7` };
    const [first, second] = await receiver.of(await defer(tenant().gateway, 'plain', callback), 2);
    assert.equal(first.path, '/of/mine?row=7');
    assert.equal(first.headers['webhook-id'], second.headers['webhook-id']);
    assert.deepEqual(verified(first, SECRETS.callbacks), verified(second, SECRETS.callbacks));
  } finally {
    receiver.close();
  }
});
