// The bridge between a profile's worker and WhatsApp: one process for one session, started and ended by that worker.
//
//   node bridge.mjs --port 0 --session DIR --state DIR [--mode self-chat|bot] [--max-media BYTES] [--send-timeout MS] [--read-receipts]
//   node bridge.mjs --pair --session DIR [--phone NUMBER]
//
// The first line of its input is the secret that every request has to carry; when its input ends it ends too. What it has to say goes to its output,
// one JSON object a line; its port is the first of them. Exit codes: 0 as it was told; 1 WhatsApp has logged it out; 2 wrong arguments; 3 another
// program uses the session; 4 not paired; 5 the port is taken; 6 it cannot be run here.

import crypto from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import readline from 'node:readline'
import { parseArgs } from 'node:util'
import { Queue, WRITTEN, name } from './queue.mjs'
import { Refusal, patience, serve, texts } from './server.mjs'

const EXIT = { ok: 0, loggedOut: 1, usage: 2, replaced: 3, unpaired: 4, port: 5, unable: 6 }
/** Messages that answers may quote, and that WhatsApp may ask for again. */
const RECENT = 500
/** Names of messages that were sent from here and are known, so that none is heard as somebody's. */
const OWN = 5_000
/** Longest wait before another try to reach WhatsApp, in milliseconds. */
const LONGEST = 30_000
/** Time between two looks whether what comes can be kept again, in milliseconds. */
const LOOK = 500

const say = event => process.stdout.write(JSON.stringify(event) + '\n')
const end = (code, event) => {
  if (event) say(event)
  // What was said is read before the end.
  process.stdout.write('', () => process.exit(code))
}

const args = (() => {
  try {
    const text = { type: 'string' }
    const flag = { type: 'boolean' }
    const options = { port: text, session: text, mode: text, state: text, 'max-media': text, 'send-timeout': text, 'read-receipts': flag, pair: flag, phone: text }
    const { values } = parseArgs({ options })
    if (!values.session) throw new Error('--session is required')
    if (!values.state && !values.pair) throw new Error('--state is required')
    return values
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exit(EXIT.usage)
  }
})()

const session = path.resolve(args.session)
const kept = path.resolve(args.state ?? session)
const media = path.join(kept, 'media')
const mode = args.mode ?? 'self-chat'
const credentials = path.join(session, 'creds.json')
const pidFile = path.join(session, 'bridge.pid')

let baileys
let message
try {
  baileys = await import('@whiskeysockets/baileys')
  message = await import('./message.mjs')
} catch (error) {
  end(EXIT.unable, { event: 'unable', reason: String(error.message).split('\n')[0] })
  await new Promise(() => {})
}

for (const directory of args.pair ? [session] : [session, media]) fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
/** When the session was used last: what is older was said before the bot was there. */
const since = fs.existsSync(credentials) ? Math.floor(fs.statSync(credentials).mtimeMs / 1000) - 60 : Math.floor(Date.now() / 1000)

const warn = text => say({ event: 'log', level: 'warn', text: String(text).slice(0, 500) })
/** What the library says is its own business, but for errors. */
const logger = {
  level: 'error',
  child: () => logger,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error(what, text) {
    warn(`${text ?? what?.err?.message ?? what?.message ?? (typeof what === 'string' ? what : 'an error of the library')}`)
  },
  fatal(what, text) {
    logger.error(what, text)
  },
}

let socket
let state = 'connecting'
let me = []
let tries = 0
let version
let ending = false
/** Writes of the session's keys, one after the other. */
let saved = Promise.resolve()
const recent = new Map()
const own = new Set()
const groups = new Map()

function change(to, reason) {
  if (state === to) return
  state = to
  say({ event: 'state', state, ...(reason ? { reason } : {}) })
}

function remember(sent) {
  if (!sent?.key?.id) return
  recent.set(name(message.plain(sent.key.remoteJid), sent.key.id), sent)
  if (recent.size > RECENT) recent.delete(recent.keys().next().value)
}

/** That of a chat's ids by which it is known here: with the number, where anybody knows that. */
async function main(id, other) {
  const [chat] = message.both(id, other)
  if (!chat.endsWith('@lid')) return chat
  return message.plain(await socket?.signalRepository?.lidMapping?.getPNForLID(chat).catch(() => undefined)) || chat
}

/** A message that is remembered, by whichever of its chat's ids. Of another chat it is none, whatever it is called. */
async function known(chat, id) {
  for (const one of recent.values()) {
    if (one.key.id === id && (await main(one.key.remoteJid, one.key.remoteJidAlt)) === (await main(chat))) return one
  }
  return undefined
}

/** What WhatsApp calls a message; what is not remembered any more is called as it is here. */
async function keyOf(chat, id, { fromMe, participant }) {
  const { remoteJid, ...own } = (await known(chat, id))?.key ?? { remoteJid: chat, fromMe, participant }
  return { remoteJid, id, fromMe: Boolean(own.fromMe), ...(own.participant ? { participant: own.participant } : {}) }
}

/** A name for a message, known as our own before anybody can hear of it: the same for the same key, so that who gets it twice sees it once. */
function named(key) {
  const id = key
    ? `3EB0${crypto.createHash('sha256').update(key).digest('hex').slice(0, 18).toUpperCase()}`
    : baileys.generateMessageIDV2(socket.user?.id)
  own.add(id)
  if (own.size > OWN) own.delete(own.values().next().value)
  return id
}

/** A session that cannot be read is not one that is not there: the library would make a new one in its place. */
function checked() {
  if (!fs.existsSync(credentials)) return
  try {
    JSON.parse(fs.readFileSync(credentials, 'utf8'))
  } catch (error) {
    throw new Error(`${credentials} is damaged: ${error.message}`)
  }
}

/** The session's keys are there whole, or as they were. */
function save(creds) {
  const fresh = `${credentials}.new`
  fs.writeFileSync(fresh, JSON.stringify(creds, baileys.BufferJSON.replacer), { mode: 0o600, flag: WRITTEN })
  fs.renameSync(fresh, credentials)
}

async function connect() {
  checked()
  const { state: auth } = await baileys.useMultiFileAuthState(session)
  // Told to end meanwhile: another one may have the session already.
  if (ending) return
  if (!args.pair && !auth.creds.me?.id) return end(EXIT.unpaired, { event: 'not_paired' })
  socket = baileys.makeWASocket({
    auth: { creds: auth.creds, keys: baileys.makeCacheableSignalKeyStore(auth.keys, logger) },
    logger,
    browser: baileys.Browsers.ubuntu('Hermes'),
    syncFullHistory: false,
    markOnlineOnConnect: false,
    emitOwnEvents: false,
    getMessage: async key => (await known(key.remoteJid, key.id))?.message,
    ...(version ? { version } : {}),
  })
  socket.ev.on('creds.update', () => {
    saved = saved.then(() => save(auth.creds)).catch(error => warn(`the session is not written: ${error.message}`))
  })
  socket.ev.on('connection.update', update => void changed(update).catch(fail))
  if (!args.pair) socket.ev.on('messages.upsert', arrived)
  socket.ev.on('groups.update', all => all.forEach(group => groups.delete(group.id)))
  if (args.pair && args.phone && !auth.creds.me?.id) {
    const code = await socket.requestPairingCode(args.phone.replace(/\D/g, ''))
    say({ event: 'code', code })
  }
}

async function changed({ connection, lastDisconnect, qr }) {
  if (ending) return
  if (qr && args.pair && !args.phone) {
    const { default: terminal } = await import('qrcode-terminal')
    terminal.generate(qr, { small: true }, text => say({ event: 'qr', qr, text }))
  }
  if (connection === 'open') {
    tries = 0
    me = message.both(socket.user?.id, socket.user?.lid).filter(Boolean)
    change('connected')
    if (args.pair) {
      await saved
      say({ event: 'paired', me: me[0], name: socket.user?.name ?? '' })
      await leave(EXIT.ok)
    }
  }
  if (connection !== 'close') return
  const code = lastDisconnect?.error?.output?.statusCode
  const reason = String(lastDisconnect?.error?.message ?? 'the connection was closed').slice(0, 200)
  const { DisconnectReason } = baileys
  if ([DisconnectReason.loggedOut, DisconnectReason.multideviceMismatch, DisconnectReason.forbidden].includes(code)) {
    await saved
    // A session that is none any more is not tried again.
    if (fs.existsSync(credentials)) fs.renameSync(credentials, `${credentials}.logged-out`)
    return end(EXIT.loggedOut, { event: 'logged_out', reason })
  }
  if (code === DisconnectReason.connectionReplaced) return end(EXIT.replaced, { event: 'replaced', reason })
  if (args.pair && /QR/.test(reason)) return end(EXIT.unpaired, { event: 'timed_out', reason })
  if (args.pair && code !== DisconnectReason.restartRequired && tries >= 2) return end(EXIT.unable, { event: 'unable', reason })
  change('disconnected', reason)
  if (code === 405) version = (await baileys.fetchLatestWaWebVersion().catch(() => ({}))).version
  connectIn(code === DisconnectReason.restartRequired ? 0 : Math.min(1000 * 2 ** tries++, LONGEST))
}

function connectIn(wait) {
  setTimeout(() => {
    if (ending) return
    // What comes could not be kept; WhatsApp keeps it as long as nobody is there.
    if (queue?.trouble) return connectIn(LOOK)
    change('connecting')
    connect().catch(fail)
  }, wait)
}

function fail(error) {
  process.stderr.write(`${error?.stack ?? error}\n`)
  end(EXIT.unable, { event: 'unable', reason: String(error?.message ?? error).slice(0, 300) })
}

let queue
try {
  if (!args.pair) queue = new Queue(path.join(kept, 'queue'), troubled)
} catch (error) {
  fail(error)
  await new Promise(() => {})
}

/** What comes cannot be kept: WhatsApp is left until it can. */
function troubled(why) {
  if (!why) return
  warn(`what comes cannot be kept, and WhatsApp is left until it can: ${why}`)
  // At once: what is not confirmed yet comes again.
  socket?.end(new Error('what comes cannot be kept'))
}

/** What is prepared of each chat, in order. */
const chains = new Map()

function arrived({ messages, type }) {
  // `append`: what was said while nobody listened, and what the owner wrote on his telephone.
  if (type !== 'notify' && type !== 'append') return
  for (const one of messages) {
    try {
      take(one)
    } catch (error) {
      // One that is odd hides no other.
      warn(`a message cannot be read, and is skipped: ${error?.message ?? error}`)
    }
  }
}

function take(one) {
  if (one.key?.fromMe && own.has(one.key.id)) return
  const item = message.told(one, me)
  if (item) remember(one)
  if (!item || item.timestamp < since || !isForUs(item)) return
  if (queue.knows(name(item.chatId, item.messageId))) return
  const raw = Buffer.from(baileys.proto.WebMessageInfo.encode(one).finish()).toString('base64')
  const seq = queue.begin(raw)
  if (seq === undefined) warn(`too many messages wait, and one of ${item.chatId} was not taken`)
  else inTurn(item.chatId, () => prepare(seq, item, one))
}

/** A message of the bot's own account is one to it only from its owner, to himself or where that is wanted. Others' are none in self-chat. */
function isForUs(item) {
  if (item.chatId.endsWith('@broadcast') || item.chatId.endsWith('@newsletter')) return false
  const isOwn = me.includes(item.chatId) || me.includes(item.chatAlt)
  if (mode !== 'bot') return item.fromMe && isOwn
  return !item.fromMe || !item.isGroup
}

function inTurn(chat, work) {
  const before = chains.get(chat) ?? Promise.resolve()
  const next = before.then(work).catch(error => warn(`a message could not be prepared: ${error.message}`))
  chains.set(chat, next)
  void next.then(() => chains.get(chat) === next && chains.delete(chat))
}

async function prepare(seq, item, one) {
  const most = Number(args['max-media'] ?? 0)
  const whole = item.hasMedia ? await message.fetched(item, one, { directory: media, most, logger, socket }) : item
  const chatName = item.isGroup ? (await group(item.chatId))?.subject ?? '' : item.senderName
  queue.finish(seq, { ...whole, chatName, fromOwner: mode === 'bot' && item.fromMe })
}

async function group(id) {
  if (!groups.has(id)) {
    const found = await socket?.groupMetadata(id).catch(() => undefined)
    if (groups.size > 200) groups.clear()
    if (found) groups.set(id, found)
  }
  return groups.get(id)
}

/** Does something in WhatsApp, and says how that went. */
async function act(work) {
  if (state !== 'connected') throw new Refusal(503, 'Not connected to WhatsApp')
  const time = Number(args['send-timeout'] ?? 60_000)
  let timer
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Refusal(504, 'WhatsApp did not answer in time')), time)
  })
  try {
    return await Promise.race([work(), late])
  } catch (error) {
    if (error instanceof Refusal) throw error
    const code = error?.output?.statusCode ?? error?.data
    const gone = [403, 404, 410].includes(code) || /^(forbidden|item-not-found|not-authorized)$/.test(error?.message ?? '')
    throw new Refusal(gone ? 409 : 500, String(error?.message ?? error))
  } finally {
    clearTimeout(timer)
  }
}

async function send(chat, content, { key, replyTo }) {
  return act(async () => {
    const quoted = replyTo ? await known(chat, replyTo) : undefined
    const sent = await socket.sendMessage(chat, content, { messageId: named(key), ...(quoted ? { quoted } : {}) })
    remember(sent)
    return { success: true, messageId: sent?.key?.id, messageIds: [sent?.key?.id] }
  })
}

function file({ filePath, mediaType, caption, fileName, mime }) {
  if (!fs.existsSync(filePath)) throw new Refusal(404, `File not found: ${filePath}`)
  const url = { url: filePath }
  const kind = mediaType || (/\.(jpe?g|png|webp)$/i.test(filePath) ? 'image' : /\.(mp4|3gp)$/i.test(filePath) ? 'video' : /\.(ogg|mp3|m4a|opus)$/i.test(filePath) ? 'audio' : 'document')
  const type = mime ? { mimetype: mime } : {}
  if (kind === 'image') return { image: url, caption, ...type }
  if (kind === 'video') return { video: url, caption, ...type }
  if (kind === 'audio' || kind === 'voice') {
    const ptt = kind === 'voice' || /\.(ogg|opus)$/i.test(filePath)
    return { audio: url, ptt, mimetype: mime || (ptt ? 'audio/ogg; codecs=opus' : 'audio/mpeg') }
  }
  return { document: url, caption, fileName: fileName || path.basename(filePath), mimetype: mime || 'application/octet-stream' }
}

const hash = crypto.createHash('sha256').update(fs.readFileSync(new URL(import.meta.url))).digest('hex').slice(0, 16)
const routes = {
  'GET /health': () => ({
    status: state,
    queueLength: queue.length,
    uptime: process.uptime(),
    scriptHash: hash,
    acknowledges: true,
    dropped: queue.dropped,
    botIds: me,
  }),
  // With `ack`, what is handed out comes again until it is confirmed; without, it is gone, as it was in older bridges.
  'GET /messages': async ({ url, signal }) => {
    const all = await queue.wait(Number(url.searchParams.get('after')) || 0, patience(url), signal)
    if (!url.searchParams.has('ack')) confirmed(all.map(item => item.seq))
    return all
  },
  'POST /ack': ({ body }) => {
    if (!Array.isArray(body.seqs)) throw new Refusal(400, 'seqs are required')
    return { success: true, confirmed: confirmed(body.seqs) }
  },
  'POST /send': ({ body }) => {
    const [chat, text] = texts(body, 'chatId', 'message')
    return send(chat, { text }, body)
  },
  'POST /edit': ({ body }) => {
    const [chat, id, text] = texts(body, 'chatId', 'messageId', 'message')
    return send(chat, { text, edit: { remoteJid: chat, id, fromMe: true } }, {})
  },
  'POST /react': async ({ body }) => {
    const [chat, id] = texts(body, 'chatId', 'messageId')
    return send(chat, { react: { text: body.emoji ?? '', key: await keyOf(chat, id, body) } }, {})
  },
  'POST /send-media': ({ body }) => {
    const [chat] = texts(body, 'chatId', 'filePath')
    return send(chat, file(body), body)
  },
  'POST /send-poll': ({ body }) => {
    const [chat, question] = texts(body, 'chatId', 'question')
    if (!Array.isArray(body.options) || body.options.length < 2) throw new Refusal(400, 'options are required')
    return send(chat, { poll: { name: question, values: body.options.map(String), selectableCount: body.multiple ? 0 : 1 } }, body)
  },
  'POST /send-location': ({ body }) => {
    const [chat] = texts(body, 'chatId')
    if (![body.latitude, body.longitude].every(Number.isFinite)) throw new Refusal(400, 'latitude and longitude are required')
    return send(chat, { location: { degreesLatitude: body.latitude, degreesLongitude: body.longitude, name: body.name } }, body)
  },
  'POST /typing': ({ body }) => {
    const [chat] = texts(body, 'chatId')
    return act(async () => {
      await socket.sendPresenceUpdate('composing', chat)
      return { success: true }
    })
  },
  'GET /chat': ({ url }) => {
    const id = decodeURIComponent(url.pathname.split('/')[2] ?? '')
    return act(async () => {
      const found = id.endsWith('@g.us') ? await group(id) : undefined
      return { name: found?.subject ?? id, isGroup: id.endsWith('@g.us'), participants: (found?.participants ?? []).map(one => one.id) }
    })
  },
}

/** What was taken over is forgotten with its files, and shown as read where that is wanted. */
function confirmed(seqs) {
  const items = queue.confirm(seqs)
  for (const item of items) item.mediaUrls.forEach(path => fs.rmSync(path, { force: true }))
  if (args['read-receipts'] && state === 'connected' && items.length) {
    const others = items.filter(item => !item.fromMe)
    const keys = others.map(item => keyOf(item.chatId, item.messageId, item.isGroup ? { participant: item.senderId } : {}))
    Promise.all(keys).then(all => socket.readMessages(all)).catch(error => warn(`a message is not shown as read: ${error.message}`))
  }
  return items.length
}

/** Closes everything, in order: the session's keys are on disk before the end. */
async function leave(code) {
  if (ending) return
  ending = true
  setTimeout(() => process.exit(code), 2_000).unref()
  try {
    socket?.end(undefined)
  } catch {
    // It is closed then.
  }
  await saved
  end(code)
}

process.on('exit', () => {
  try {
    if (fs.readFileSync(pidFile, 'utf8').trim() === String(process.pid)) fs.rmSync(pidFile)
  } catch {
    // Somebody else's, or none.
  }
})
process.on('SIGTERM', () => void leave(EXIT.ok))
process.on('SIGINT', () => void leave(EXIT.ok))
process.on('unhandledRejection', error => warn(`unhandled: ${error?.message ?? error}`))
process.stdout.on('error', () => process.exit(EXIT.ok))

let told
const input = readline.createInterface({ input: process.stdin })
const secret = new Promise(first => {
  told = first
})
input.once('line', line => told(line.trim()))
input.once('close', () => {
  told('')
  void leave(EXIT.ok)
})

if (args.pair) {
  fs.writeFileSync(pidFile, String(process.pid), { mode: 0o600 })
  connect().catch(fail)
} else {
  const known = await secret
  if (!known) {
    process.stderr.write('the first line of the input is to be the secret of every request\n')
    process.exit(EXIT.usage)
  }
  try {
    const server = await serve({ port: Number(args.port ?? 0), secret: known, routes })
    fs.writeFileSync(pidFile, String(process.pid), { mode: 0o600 })
    say({ event: 'listening', port: server.address().port })
    for (const [seq, raw] of queue.begun()) {
      const one = baileys.proto.WebMessageInfo.decode(Buffer.from(raw, 'base64'))
      const item = message.told(one, one.key?.fromMe ? [message.plain(one.key.remoteJid)] : [])
      if (item) inTurn(item.chatId, () => prepare(seq, item, one))
      else queue.finish(seq, null)
    }
    connect().catch(fail)
  } catch (error) {
    if (error.code === 'EADDRINUSE') end(EXIT.port, { event: 'port_in_use', port: Number(args.port) })
    else fail(error)
  }
}
