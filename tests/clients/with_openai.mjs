// The `openai` package for Node.
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const CLIENT = 'openai-node'
const baseURL = process.env.HERMES_BASE_URL
const client = new OpenAI({ baseURL, apiKey: process.env.HERMES_API_KEY })
const PIXEL = 'data:image/png;base64,iVBORw0KGgo='
const tools = [
  {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] },
    },
  },
]
const chat = (messages, more = {}, options = {}) =>
  client.chat.completions.create({ model: 'default', messages, ...more }, options)
const ask = (content, more, options) => chat([{ role: 'user', content }], more, options)

const cases = {
  async plain() {
    const { data, request_id } = await ask('plain').withResponse()
    assert.equal(data.choices[0].message.content, 'pong')
    assert.equal(data.usage.total_tokens, 16)
    assert.ok(request_id, 'every answer has an id')
  },
  async stream() {
    const chunks = []
    for await (const chunk of await ask('plain', { stream: true, stream_options: { include_usage: true } })) chunks.push(chunk)
    assert.equal(chunks.map(c => c.choices[0]?.delta.content ?? '').join(''), 'pong')
    assert.equal(chunks.at(-1).usage.total_tokens, 16)
  },
  async tools() {
    for (const streamed of [false, true]) {
      const messages = [{ role: 'user', content: 'the weather' }]
      const message = streamed
        ? await client.chat.completions.stream({ model: 'default', messages, tools }).finalMessage()
        : (await chat(messages, { tools })).choices[0].message
      assert.deepEqual(message.tool_calls.map(c => JSON.parse(c.function.arguments).place), ['here', 'there'])
      messages.push(message)
      for (const call of message.tool_calls) messages.push({ role: 'tool', tool_call_id: call.id, content: call.id })
      assert.equal((await chat(messages, { tools })).choices[0].message.content, 'call_a, call_b')
    }
  },
  async session() {
    const headers = { 'X-Hermes-Session-Id': `a session of ${CLIENT}` }
    assert.equal((await ask('how many', {}, { headers })).choices[0].message.content, '1')
    assert.equal((await ask('how many', {}, { headers })).choices[0].message.content, '3')
  },
  async wrong_key() {
    const other = new OpenAI({ baseURL, apiKey: `wrong-key-of-${CLIENT}` })
    await assert.rejects(other.models.list(), error => error.status === 401 && error.code === 'invalid_api_key')
  },
  async permanent() {
    await assert.rejects(ask(`deny ${CLIENT}`), error => error.status < 500 && /no such account/.test(error.message))
  },
  async temporary() {
    assert.equal((await ask(`busy ${CLIENT}`)).choices[0].message.content, 'at last')
  },
  async vision() {
    const content = [{ type: 'text', text: 'look' }, { type: 'image_url', image_url: { url: PIXEL } }]
    assert.equal((await ask(content)).choices[0].message.content, 'a picture')
  },
  async json_mode() {
    const answer = await ask('json', { response_format: { type: 'json_object' } })
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { answer: 42 })
  },
  async cancel() {
    const answer = await ask(`endless ${CLIENT}`, { stream: true })
    let seen = 0
    for await (const chunk of answer) {
      seen += 1
      if (seen > 5) break
    }
    answer.controller.abort()
  },
  async models() {
    const ids = []
    for await (const model of client.models.list()) ids.push(model.id)
    assert.deepEqual(ids, ['hermes-agent'])
  },
}

const flat = tools.map(tool => ({ type: 'function', strict: false, ...tool.function }))
const respond = (input, more) => client.responses.create({ model: 'default', input, ...more })
Object.assign(cases, {
  async responses() {
    const first = await respond('how many')
    assert.equal(first.output_text, '1')
    assert.equal((await client.responses.retrieve(first.id)).output_text, '1')
    assert.equal((await respond('how many', { previous_response_id: first.id })).output_text, '3')
    const items = []
    for await (const item of client.responses.inputItems.list(first.id)) items.push(item)
    assert.equal(items[0].content[0].text, 'how many')
    await client.responses.delete(first.id)
    await assert.rejects(client.responses.retrieve(first.id), error => error.status === 404)
  },
  async streamed_responses() {
    let text = ''
    for await (const event of await respond('plain', { stream: true })) {
      if (event.type === 'response.output_text.delta') text += event.delta
    }
    assert.equal(text, 'pong')
    const final = await client.responses.stream({ model: 'default', input: 'the weather', tools: flat }).finalResponse()
    assert.deepEqual(final.output.map(item => item.type), ['function_call', 'function_call'])
    const results = final.output.map(call => ({ type: 'function_call_output', call_id: call.call_id, output: call.call_id }))
    const answer = await respond(results, { previous_response_id: final.id, tools: flat })
    assert.equal(answer.output_text, 'call_a, call_b')
  },
  async parsed_response() {
    const schema = { type: 'object', properties: { answer: { type: 'integer' } }, required: ['answer'], additionalProperties: false }
    const format = { type: 'json_schema', name: 'answer', schema, strict: true }
    const answer = await respond('json', { text: { format } })
    assert.deepEqual(JSON.parse(answer.output_text), { answer: 42 })
  },
})

for (const [name, run] of Object.entries(cases)) {
  await run()
  console.log('ok', name)
}
