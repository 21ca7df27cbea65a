// Held calls: the SDK gets on its own connection what the live API would have given it, only later.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { SILENT, STREAMED, UNTIL_DEADLINE, arm, created, deferrals, patient, shown, streamed, timesSent } from './held.mjs';
import { BETA_KINDS, GATEWAY, KINDS, client, promptFor, tenant } from './servers.mjs';

const isOwn = (name, value) => name === 'parsed_output' && value === null;

/** A Message as the API would write it: the SDK adds members of its own to it. */
const written = (message) => JSON.parse(JSON.stringify(message, (name, value) => (isOwn(name, value) ? undefined : value)));

const rejected = (promise) => promise.then(() => assert.fail('an answer'), (error) => error);

describe('every kind of answer', () => {
  const { gateway } = tenant();
  const messagesOf = (kind) => (BETA_KINDS.includes(kind) ? gateway.beta.messages : gateway.messages);
  const kinds = [...KINDS, ...BETA_KINDS];
  let answers;
  let streams;
  before(async () => {
    // All at the same time, so that they share a batch and its wait.
    const each = (call) => Promise.all(kinds.map(async (kind) => [kind, await call(messagesOf(kind), promptFor(kind))]));
    [answers, streams] = (await Promise.all([each(created), each(streamed)])).map(Object.fromEntries);
  });

  for (const kind of kinds) {
    test(`create: ${kind}`, async () => {
      const { message, text, id } = answers[kind];
      const deferral = await shown(gateway, id);
      assert.ok(deferral.text.includes(`"message":${text.trim()},`));
      assert.deepEqual(written(message), deferral.message);
      assert.equal(message.usage.service_tier, 'batch');
    });

    test(`stream: ${kind}`, async () => {
      const { message, id } = streams[kind];
      assert.deepEqual(written(message), (await shown(gateway, id)).message);
    });
  }
});

describe('waits', () => {
  test('one that ends in the result', async () => {
    const { gateway } = tenant();
    const { data, response } = await gateway.messages.create(promptFor('plain'), SILENT).withResponse();
    assert.equal(response.status, 200);
    assert.deepEqual(written(data), (await shown(gateway, response.headers.get('x-defer-id'))).message);
  });

  test('one that ends in a ticket', async () => {
    const { apiKey, direct, gateway } = tenant();
    await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '3s' });
    const prompt = promptFor('plain');
    const waiting = { headers: { 'x-defer': 'batch', 'x-defer-wait': '1s' } };
    const { data, response } = await gateway.messages.create(prompt, waiting).withResponse();
    assert.deepEqual([response.status, data.type], [202, 'deferral']);
    assert.equal((await gateway.get(`/deferred/${data.id}/message?wait=60`)).type, 'message');
    assert.equal(await timesSent(direct, prompt), 1);
  });

  test('one that is kept alive and ends without a result: the ticket comes by asking again', async () => {
    const { apiKey, gateway } = tenant();
    await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '1h' });
    const prompt = promptFor('plain');
    const keyed = { headers: { 'x-defer': 'batch', 'x-defer-wait': '5s', 'idempotency-key': 'report-7' } };
    await rejected(gateway.messages.create(prompt, keyed));
    const begun = Date.now();
    const { data, response } = await gateway.messages.create(prompt, keyed).withResponse();
    assert.deepEqual([response.status, data.type], [202, 'deferral']);
    assert.ok(Date.now() - begun < 4_000);
    assert.equal((await deferrals(gateway)).length, 1);
  });
});

describe('errors', () => {
  const classes = {
    invalid_request_error: Anthropic.BadRequestError,
    permission_error: Anthropic.PermissionDeniedError,
    not_found_error: Anthropic.NotFoundError,
  };
  for (const [kind, expected] of Object.entries(classes)) {
    test(kind, async () => {
      const { direct, gateway } = tenant();
      const prompt = promptFor(`error:${kind}`);
      const [live, silent, stream] = await Promise.all([
        rejected(direct.messages.create(prompt)),
        rejected(gateway.messages.create(prompt, SILENT)),
        rejected(gateway.messages.stream(promptFor(`error:${kind}`), STREAMED).finalMessage()),
      ]);
      assert.ok(silent instanceof expected, String(silent));
      assert.deepEqual([silent.status, silent.error.error], [live.status, live.error.error]);
      assert.ok(stream instanceof Anthropic.APIError, String(stream));
      assert.deepEqual(stream.error.error, live.error.error);
    });
  }

  test('after an early 200 it is heard by asking again', async () => {
    const { apiKey, direct, gateway } = tenant();
    await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '1500ms' });
    const prompt = promptFor('error:permission_error');
    const keyed = { headers: { ...UNTIL_DEADLINE.headers, 'idempotency-key': 'report-7' } };
    // The SDK does not retry once it has a status.
    const cut = await rejected(client(GATEWAY, apiKey, { maxRetries: 2 }).messages.create(prompt, keyed));
    assert.ok(!(cut instanceof Anthropic.APIError) || cut.status === undefined, String(cut));
    assert.ok((await rejected(gateway.messages.create(prompt, keyed))) instanceof Anthropic.PermissionDeniedError);
    assert.equal((await deferrals(gateway)).length, 1);
    assert.equal(await timesSent(direct, prompt), 1);
  });
});

describe('a client that gives up after two seconds without a byte, and a batch that takes four', () => {
  const { apiKey, direct } = tenant();
  const impatient = client(GATEWAY, apiKey, { fetch: patient(2_000), timeout: 2_000 });
  const prompts = [promptFor('plain'), promptFor('plain'), promptFor('plain')];
  let answers;
  before(async () => {
    // Most likely they share a batch.
    await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '4s' }, prompts.length);
    const begun = Date.now();
    answers = await Promise.all([
      created(impatient.messages, prompts[0]),
      streamed(impatient.messages, prompts[1]),
      impatient.messages.create({ ...prompts[2], stream: true }, STREAMED).then(collect),
    ]);
    assert.ok(Date.now() - begun > 4_000);
  });

  test('is kept alive by blanks', async () => {
    const { message, text, id } = answers[0];
    assert.ok(text.startsWith('   '));
    assert.deepEqual(written(message), (await shown(impatient, id)).message);
  });

  test('is kept alive by pings', async () => {
    const { message, id } = answers[1];
    assert.deepEqual(written(message), (await shown(impatient, id)).message);
  });

  test("reads raw events as the provider's", () => {
    const kinds = answers[2].map((event) => event.type);
    assert.deepEqual([kinds[0], kinds.at(-1)], ['message_start', 'message_stop']);
  });

  test('defers nothing twice', async () => {
    assert.equal((await deferrals(impatient)).length, prompts.length);
    assert.deepEqual(await Promise.all(prompts.map((prompt) => timesSent(direct, prompt))), [1, 1, 1]);
  });
});

test('a client that gives up in silence is back again, and nothing is deferred twice', async () => {
  const { apiKey, direct } = tenant();
  await arm(apiKey, 'batch_create', { kind: 'batch_time', time: '2300ms' });
  const counts = [];
  const counting = (url, options) => {
    if (options.method === 'POST') counts.push(new Headers(options.headers).get('x-stainless-retry-count'));
    return fetch(url, options);
  };
  const impatient = client(GATEWAY, apiKey, { timeout: 2_000, maxRetries: 4, fetch: counting });
  const prompt = promptFor('plain');
  const message = await impatient.messages.create(prompt, { headers: { 'x-defer': 'batch', 'x-defer-wait': '4500ms' } });
  const [deferral, ...others] = await deferrals(impatient);
  assert.deepEqual(written(message), deferral.message);
  assert.deepEqual([counts, others, deferral.attempts], [['0', '1'], [], 1]);
  assert.equal(await timesSent(direct, prompt), 1);
});

async function collect(items) {
  const collected = [];
  for await (const item of items) collected.push(item);
  return collected;
}
