// Held for six minutes, with nothing shortened: the SDK as it comes, on Node's own fetch, which gives up after five minutes
// without a byte, gets its answer on one connection and without a retry.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { created, deferrals, shown, streamed } from '../javascript/held.mjs';
import { GATEWAY, promptFor, tenant } from '../javascript/servers.mjs';

// How long a batch takes here.
const BATCH_MS = 360_000;

const timed = async (call) => {
  const begun = Date.now();
  return { ...(await call), took: Date.now() - begun };
};

describe('held for six minutes', () => {
  const gateway = new Anthropic({ baseURL: GATEWAY, apiKey: tenant().apiKey, authToken: null, maxRetries: 0 });
  let json;
  let stream;
  let silent;
  before(async () => {
    const waiting = { headers: { 'x-defer': 'batch', 'x-defer-wait': '4m30s' } };
    [json, stream, silent] = await Promise.all([
      timed(created(gateway.messages, promptFor('thinking'))),
      timed(streamed(gateway.messages, promptFor('thinking'))),
      timed(gateway.messages.create(promptFor('thinking'), waiting).withResponse()),
    ]);
  });

  test('json', async () => {
    assert.ok(json.took > BATCH_MS, String(json.took));
    // One after 20 s, and one each 20 s from then on.
    assert.ok(json.text.startsWith(' '.repeat(15)));
    assert.equal(json.message.id, (await shown(gateway, json.id)).message.id);
  });

  test('stream', async () => {
    assert.ok(stream.took > BATCH_MS, String(stream.took));
    const { message } = await shown(gateway, stream.id);
    assert.deepEqual([stream.message.id, stream.message.content.length], [message.id, message.content.length]);
  });

  test('a silent wait ends in a ticket', () => {
    assert.deepEqual([silent.response.status, silent.data.type], [202, 'deferral']);
    assert.ok(silent.took >= 270_000 && silent.took < 280_000, String(silent.took));
  });

  test('nothing was deferred twice', async () => assert.equal((await deferrals(gateway)).length, 3));
});
