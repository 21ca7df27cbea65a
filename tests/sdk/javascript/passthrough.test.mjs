// Live calls and the SDK's own batches: through the gateway as without it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { GATEWAY, KINDS, SIMULATOR, client, exchange, lasting, promptFor, tenant, until } from './servers.mjs';

const both = ({ direct, gateway }, call) => Promise.all([direct, gateway].map(call));

async function collect(items) {
  const collected = [];
  for await (const item of items) collected.push(item);
  return collected;
}

describe('messages', () => {
  for (const kind of KINDS) {
    test(`create: ${kind}`, async () => {
      const prompt = promptFor(kind);
      const [plain, relayed] = await both(tenant(), (which) => which.messages.create(prompt).asResponse());
      assert.equal(relayed.headers.get('x-defer-decision'), 'live; reason=no-rule');
      assert.deepEqual(await exchange(relayed), await exchange(plain));
    });

    test(`stream: ${kind}`, async () => {
      const prompt = promptFor(kind);
      const [plain, relayed] = await both(tenant(), async (which) => {
        const events = [];
        const stream = which.messages.stream(prompt).on('streamEvent', (event) => events.push(lasting(JSON.stringify(event))));
        return { message: lasting(JSON.stringify(await stream.finalMessage())), events };
      });
      assert.deepEqual(relayed, plain);
      assert.ok(relayed.events.length > 3);
    });
  }

  test('stream: every byte', async () => {
    const prompt = { ...promptFor('long:300'), stream: true };
    const [plain, relayed] = await both(tenant(), (which) => which.messages.create(prompt).asResponse());
    assert.deepEqual(await exchange(relayed), await exchange(plain));
  });

  test('a stream can be left early', async () => {
    const { gateway } = tenant();
    for await (const event of await gateway.messages.create({ ...promptFor('long:900'), stream: true })) {
      assert.equal(event.type, 'message_start');
      break;
    }
    assert.equal((await gateway.messages.create(promptFor('plain'))).type, 'message');
  });

  test('countTokens and models', async () => {
    const { model, messages } = promptFor('plain');
    for (const call of [
      (which) => which.messages.countTokens({ model, messages }).asResponse(),
      (which) => which.models.list({ limit: 3 }).asResponse(),
      (which) => which.models.retrieve(model).asResponse(),
    ]) {
      const [plain, relayed] = await both(tenant(), call);
      assert.equal(relayed.status, 200);
      assert.deepEqual(await exchange(relayed), await exchange(plain));
    }
    const [plain, relayed] = await both(tenant(), (which) => collect(which.models.list({ limit: 3 })));
    // More than one page, so that the cursors travel too.
    assert.ok(relayed.length > 3);
    assert.deepEqual(relayed, plain);
  });
});

describe('batches', () => {
  const ended = (which, { id }) =>
    until(() => which.messages.batches.retrieve(id), (batch) => batch.processing_status === 'ended');

  test('create, retrieve, results', async () => {
    const params = promptFor('plain');
    const requests = ['a', 'b'].map((custom_id) => ({ custom_id, params }));
    const [plain, relayed] = await both(tenant(), async (which) => {
      const created = await which.messages.batches.create({ requests });
      const batch = await ended(which, created);
      const lines = await collect(await which.messages.batches.results(batch.id));
      return [created, batch, ...lines].map((seen) => lasting(JSON.stringify(seen))).sort();
    });
    assert.deepEqual(relayed, plain);
    assert.equal(relayed.length, 4);
  });

  test('results stay on the gateway', async () => {
    const { direct, gateway } = tenant();
    const requests = [{ custom_id: 'a', params: promptFor('plain') }];
    const batch = await ended(gateway, await gateway.messages.batches.create({ requests }));
    assert.ok(batch.results_url.startsWith(`${GATEWAY}/v1/messages/batches/${batch.id}`), batch.results_url);
    assert.ok((await direct.messages.batches.retrieve(batch.id)).results_url.startsWith(SIMULATOR));
    for await (const listed of gateway.messages.batches.list()) assert.equal(listed.results_url, batch.results_url);
    assert.equal((await gateway.messages.batches.delete(batch.id)).type, 'message_batch_deleted');
    await assert.rejects(direct.messages.batches.retrieve(batch.id), Anthropic.NotFoundError);
  });
});

describe('errors', () => {
  const classes = {
    invalid_request_error: Anthropic.BadRequestError,
    authentication_error: Anthropic.AuthenticationError,
    permission_error: Anthropic.PermissionDeniedError,
    not_found_error: Anthropic.NotFoundError,
    rate_limit_error: Anthropic.RateLimitError,
    api_error: Anthropic.InternalServerError,
    overloaded_error: Anthropic.InternalServerError,
  };
  for (const [kind, expected] of Object.entries(classes)) {
    test(kind, async () => {
      const prompt = promptFor(`error:${kind}`);
      const [plain, relayed] = await both(tenant(), (which) =>
        which.messages.create(prompt).then(() => assert.fail('an answer'), (error) => error),
      );
      assert.ok(relayed instanceof expected, String(relayed));
      assert.equal(relayed.constructor, plain.constructor);
      assert.equal(relayed.status, plain.status);
      assert.equal(lasting(JSON.stringify(relayed.error)), lasting(JSON.stringify(plain.error)));
    });
  }

  test('a wrong key', async () => {
    for (const url of [SIMULATOR, GATEWAY]) {
      await assert.rejects(client(url, 'sk-ant-invalid-1').messages.create(promptFor('plain')), Anthropic.AuthenticationError);
    }
  });
});
