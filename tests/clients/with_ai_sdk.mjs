// The AI SDK, with its provider for OpenAI, on both of its wires, and the one for compatible servers.
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai'
import { z } from 'zod'

const CLIENT = 'ai-sdk'
const baseURL = process.env.HERMES_BASE_URL
const apiKey = process.env.HERMES_API_KEY
const PIXEL = 'data:image/png;base64,iVBORw0KGgo='
const compatible = (more = {}) =>
  createOpenAICompatible({ name: 'hermes', baseURL, apiKey, includeUsage: true, ...more })('default')
const openai = createOpenAI({ baseURL, apiKey })
const models = [compatible(), openai.chat('default'), openai.responses('default')]
const weather = tool({
  description: 'The weather of a place',
  inputSchema: z.object({ place: z.string() }),
  execute: async ({ place }) => `wet in ${place}`,
})

const cases = {
  async plain(model) {
    const answer = await generateText({ model, prompt: 'plain' })
    assert.equal(answer.text, 'pong')
    assert.equal(answer.usage.totalTokens, 16)
  },
  async stream(model) {
    const answer = streamText({ model, prompt: 'plain' })
    let text = ''
    for await (const piece of answer.textStream) text += piece
    assert.equal(text, 'pong')
    assert.equal((await answer.usage).totalTokens, 16)
    assert.equal(await answer.finishReason, 'stop')
  },
  async tools(model) {
    const ask = { model, prompt: 'the weather', tools: { weather }, stopWhen: stepCountIs(3) }
    assert.match((await generateText(ask)).text, /wet in here.*wet in there/)
    const answer = streamText(ask)
    let text = ''
    for await (const piece of answer.textStream) text += piece
    assert.match(text, /wet in here.*wet in there/)
    assert.equal((await answer.steps).length, 2)
  },
  async permanent(model, which) {
    const failing = generateText({ model, prompt: `deny ${CLIENT} ${which}` })
    await assert.rejects(failing, error => error.statusCode < 500 && /no such account/.test(error.message))
  },
  async temporary(model, which) {
    assert.equal((await generateText({ model, prompt: `busy ${CLIENT} ${which}` })).text, 'at last')
  },
  async vision(model) {
    const content = [{ type: 'text', text: 'look' }, { type: 'image', image: PIXEL }]
    assert.equal((await generateText({ model, messages: [{ role: 'user', content }] })).text, 'a picture')
  },
  async json_mode(model) {
    const answer = await generateObject({ model, prompt: 'json', schema: z.object({ answer: z.number() }) })
    assert.deepEqual(answer.object, { answer: 42 })
  },
  async cancel(model, which) {
    const stop = new AbortController()
    const answer = streamText({ model, prompt: `endless ${CLIENT} ${which}`, abortSignal: stop.signal, onError() {} })
    let seen = 0
    for await (const _piece of answer.textStream) {
      seen += 1
      if (seen === 5) stop.abort()
    }
  },
}

for (const [which, model] of models.entries()) {
  for (const [name, run] of Object.entries(cases)) {
    await run(model, which)
    console.log('ok', name)
  }
}

const headers = { 'X-Hermes-Session-Id': `a session of ${CLIENT}` }
for (const expected of ['1', '3']) {
  assert.equal((await generateText({ model: compatible({ headers }), prompt: 'how many' })).text, expected)
}
console.log('ok session')

const wrong = generateText({ model: compatible({ apiKey: `wrong-key-of-${CLIENT}` }), prompt: 'plain' })
await assert.rejects(wrong, error => error.statusCode === 401)
console.log('ok wrong_key')
