// Deferred calls: what an SDK that tags a call gets, now and later.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { GATEWAY, KINDS, client, promptFor, tenant } from './servers.mjs';

const tagged = (headers = {}) => ({ headers: { 'x-defer': 'batch', ...headers } });

/** The raw line that the provider's batch holds for a deferral: its id is the item's. */
async function batchedLine(direct, id) {
  for await (const batch of direct.messages.batches.list()) {
    if (batch.processing_status !== 'ended') continue;
    const results = await direct.get(`/v1/messages/batches/${batch.id}/results`).asResponse();
    const line = (await results.text()).split('\n').find((text) => text && JSON.parse(text).custom_id === id);
    if (line) return line;
  }
  return assert.fail(`no batch holds ${id}`);
}

describe('the message is what the batch returned', () => {
  // Deferred all at once, so that they share a batch and its wait.
  const { direct, gateway } = tenant();
  let tickets;
  before(async () => {
    const tagging = KINDS.map(async (kind) => [kind, await gateway.messages.create(promptFor(kind), tagged())]);
    tickets = Object.fromEntries(await Promise.all(tagging));
  });

  for (const kind of KINDS) {
    test(kind, async () => {
      const { id } = tickets[kind];
      assert.match(id, /^dfr_[0-9a-f]{32}$/);
      const answer = await gateway.get(`/deferred/${id}/message?wait=60`).asResponse();
      assert.equal(answer.status, 200);
      // Byte for byte, and so with the fields that no SDK knows.
      const text = await answer.text();
      assert.ok((await batchedLine(direct, id)).includes(`"message":${text}`));
      assert.deepEqual(await gateway.get(`/deferred/${id}/message`), JSON.parse(text));
    });
  }
});

test('a ticket is told by its status and headers', async () => {
  const { gateway } = tenant();
  const { data, response } = await gateway.messages.create(promptFor('plain'), tagged()).withResponse();
  assert.equal(response.status, 202);
  assert.equal(response.headers.get('x-defer-decision'), `deferred; reason=header; id=${data.id}`);
  assert.ok(response.headers.get('location').endsWith(`/deferred/${data.id}`));
  assert.equal(data.type, 'deferral');
});

test('the message says what a live answer would have said', async () => {
  const { direct, gateway } = tenant();
  const prompt = promptFor('plain');
  const { id } = await gateway.messages.create(prompt, tagged());
  const message = await gateway.get(`/deferred/${id}/message?wait=60`);
  assert.deepEqual(message.content, (await direct.messages.create(prompt)).content);
  assert.equal(message.usage.service_tier, 'batch');
});

describe('refusals', () => {
  test('a bad header is a bad request, once', async () => {
    let requests = 0;
    const fetch = (...call) => ((requests += 1), globalThis.fetch(...call));
    const { apiKey } = tenant();
    const retrying = client(GATEWAY, apiKey, { maxRetries: 2, fetch });
    const error = await retrying.messages
      .create(promptFor('plain'), tagged({ 'x-defer': 'tomorrow' }))
      .then(() => assert.fail('an answer'), (error) => error);
    assert.ok(error instanceof Anthropic.BadRequestError, String(error));
    assert.equal(error.headers.get('x-defer-error'), 'invalid-header');
    assert.equal(error.headers.get('x-should-retry'), 'false');
    assert.equal(requests, 1);
  });

  test("another tenant's deferral is not found", async () => {
    const { id } = await tenant().gateway.messages.create(promptFor('plain'), tagged());
    await assert.rejects(tenant().gateway.get(`/deferred/${id}`), Anthropic.NotFoundError);
    await assert.rejects(tenant().gateway.get(`/deferred/${id}/message`), Anthropic.NotFoundError);
  });

  test('no credential is an authentication error', async () => {
    const bare = client(GATEWAY, 'unused', { defaultHeaders: { authorization: null, 'x-api-key': null } });
    await assert.rejects(bare.messages.create(promptFor('plain'), tagged()), Anthropic.AuthenticationError);
  });
});
