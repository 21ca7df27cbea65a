// The Vercel AI SDK: it gets a held answer as it gets a live one, streaming or not.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, jsonSchema, streamText, tool } from 'ai';
import { UNTIL_DEADLINE, deferrals } from './held.mjs';
import { GATEWAY, KINDS, SIMULATOR, promptFor, tenant } from './servers.mjs';

const tools = { get_weather: tool({ inputSchema: jsonSchema({ type: 'object' }) }) };

/** What the SDK makes of an answer, without what belongs to one run, and without what tells a batch from a live one. */
async function told(result) {
  const [content, finishReason, rawFinishReason, usage] = await Promise.all([
    result.content, result.finishReason, result.rawFinishReason, result.usage,
  ]);
  const text = JSON.stringify({ content, finishReason, rawFinishReason, usage });
  return JSON.parse(text.replaceAll(/"service_tier":"\w+",?/g, '').replaceAll(/("sourceType":"url",)"id":"\w+",/g, '$1'));
}

const ways = {
  generateText: (call) => generateText(call).then(told),
  streamText: (call) => told(streamText({ ...call, onError: () => {} })),
};

const outcome = (promise) => promise.catch((error) => ({ failed: error.name }));

describe('a held answer is as a live one', () => {
  const { apiKey, gateway } = tenant();
  const live = createAnthropic({ baseURL: `${SIMULATOR}/v1`, apiKey });
  const held = createAnthropic({ baseURL: `${GATEWAY}/v1`, apiKey, ...UNTIL_DEADLINE });
  const answers = {};
  before(async () => {
    // All at the same time, so that they share a batch and its wait.
    const asked = Object.entries(ways).flatMap(([way, ask]) =>
      KINDS.map(async (kind) => {
        const { model, max_tokens: maxOutputTokens, stop_sequences: stopSequences, messages } = promptFor(kind);
        const call = { prompt: messages[0].content, maxOutputTokens, stopSequences, tools, maxRetries: 0 };
        const both = [live, held].map((provider) => outcome(ask({ ...call, model: provider(model) })));
        answers[`${way}: ${kind}`] = await Promise.all(both);
      }),
    );
    await Promise.all(asked);
  });

  for (const way of Object.keys(ways)) {
    for (const kind of KINDS) {
      test(`${way}: ${kind}`, () => {
        const [plain, later] = answers[`${way}: ${kind}`];
        assert.deepEqual(later, plain);
        // Whole, it takes no block that it does not know, wherever that comes from.
        assert.equal(plain.failed, way === 'generateText' && kind === 'unknown-block' ? 'AI_APICallError' : undefined);
      });
    }
  }

  test('all of them came from batches', async () => {
    const kept = await deferrals(gateway);
    assert.equal(kept.length, 2 * KINDS.length);
    assert.ok(kept.every((deferral) => deferral.served_by === 'batch'));
  });
});
