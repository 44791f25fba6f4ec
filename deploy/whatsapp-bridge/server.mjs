// The bridge's HTTP: on loopback, for the one who knows the secret.
//
// Every answer is JSON. 400 what was asked is wrong, 401 without the secret, 403 with the name of another host (a page in somebody's browser that
// was led here by its name), 404 no such thing, 409 the chat is gone, 413 too long, 500 WhatsApp did not do it, 503 WhatsApp is not connected, 504 it
// did not answer: what was sent may be there.

import crypto from 'node:crypto'
import http from 'node:http'

/** Longest request, in bytes. */
const BODY = 1024 * 1024
/** Longest wait for messages, in seconds. */
const WAIT = 30
const HOSTS = new Set(['127.0.0.1', 'localhost', '[::1]'])

/** What goes wrong, as it is answered. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** `routes`: `METHOD /name` to a function of the body, the address and a signal of the asker's leaving. */
export function serve({ port, secret, routes }) {
  const server = http.createServer((request, response) => {
    answer(request, response, secret, routes).catch(error => {
      const known = error instanceof Refusal
      if (!known) process.stderr.write(`${error?.stack ?? error}\n`)
      reply(response, known ? error.status : 500, { error: String(error?.message ?? error).slice(0, 500) })
    })
  })
  server.keepAliveTimeout = 60_000
  return new Promise((listening, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', () => listening(server))
  })
}

async function answer(request, response, secret, routes) {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '')
  if (!HOSTS.has(host)) throw new Refusal(403, 'Forbidden host')
  if (secret && !same(request.headers.authorization ?? '', `Bearer ${secret}`)) throw new Refusal(401, 'Unauthorized')
  const url = new URL(request.url, 'http://127.0.0.1')
  const route = routes[`${request.method} /${url.pathname.split('/')[1]}`]
  if (!route) throw new Refusal(404, 'Not found')
  const body = request.method === 'POST' ? await read(request) : undefined
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  reply(response, 200, await route({ body, url, signal: gone.signal }))
}

async function read(request) {
  const pieces = []
  let length = 0
  for await (const piece of request) {
    length += piece.length
    if (length > BODY) throw new Refusal(413, 'Request too long')
    pieces.push(piece)
  }
  try {
    const body = JSON.parse(Buffer.concat(pieces).toString('utf8') || '{}')
    if (body && typeof body === 'object' && !Array.isArray(body)) return body
  } catch {
    // Answered below.
  }
  throw new Refusal(400, 'The body is no JSON object')
}

function reply(response, status, value) {
  if (response.headersSent || response.destroyed) return
  const text = JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Whether both are the same, in time that does not tell how much of them is. */
function same(one, other) {
  const hash = text => crypto.createHash('sha256').update(text).digest()
  return crypto.timingSafeEqual(hash(one), hash(other))
}

/** Fields that have to be there, as texts. */
export function texts(body, ...names) {
  const missing = names.filter(name => typeof body[name] !== 'string' || body[name] === '')
  if (missing.length) throw new Refusal(400, `${missing.join(' and ')} are required`)
  return names.map(name => body[name])
}

/** How long messages are waited for, in milliseconds. */
export const patience = url => Math.min(Math.max(Number(url.searchParams.get('wait')) || 0, 0), WAIT) * 1000
