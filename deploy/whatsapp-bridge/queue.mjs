// What came from WhatsApp and was not confirmed yet. WhatsApp itself offers nothing twice: what this loses is lost.
//
// Everything is in a journal beside the session before anybody hears of it, one record a line: {"raw", "seq"} what is being prepared (its
// files are still fetched), {"item", "seq"} what is ready, {"done", "seq"} what was confirmed. A journal that nobody waits for is emptied; one that
// has grown is written anew, whole, and put in the place of the old one.
//
// A record that cannot be written (a full disk) leaves no half of itself, stays in memory, is written as soon as that can be done, and whoever
// made the queue is told, so that nothing more comes meanwhile.

import fs from 'node:fs'

/** Most that wait. What comes beyond that is not taken, which is counted and said. */
const MOST = 10_000
/** Length from which a journal is written anew, in bytes. */
const LONG = 4 * 1024 * 1024
/** The same where nobody waits. */
const EMPTIED = 64 * 1024
/** Latest messages that are known by their names, so that one that WhatsApp repeats is one. */
const KNOWN = 5_000
/** Most that are handed out at once. */
const BATCH = 100
/** Time before what could not be written is tried again, in milliseconds. */
const AGAIN = 1_000
/** What is written is on the disk when the call returns: a process with few permissions may not ask for that later. */
const { O_CREAT, O_SYNC, O_TRUNC, O_WRONLY } = fs.constants
export const WRITTEN = O_WRONLY | O_CREAT | O_TRUNC | O_SYNC

export class Queue {
  #path
  #file
  #length = 0
  /** Behind that, the file may have a part of a record. */
  #torn = false
  #next = 1
  // Numbers of what is handed out: never one of another process again.
  #order = Date.now() * 1000
  #ready = new Map()
  #raw = new Map()
  #known = new Set()
  #waiting = new Set()
  /** Records that are not written yet. */
  #late = []
  #troubled
  #trouble
  dropped = 0

  /** `troubled` hears why nothing can be written, and of undefined when it can again. */
  constructor(path, troubled = () => {}) {
    this.#path = path
    this.#troubled = troubled
    const ready = new Map()
    const { records, length } = read(path)
    for (const record of records) {
      this.#next = Math.max(this.#next, record.seq + 1)
      if (record.done) {
        ready.delete(record.seq)
        this.#raw.delete(record.seq)
      } else if (record.item) {
        this.#raw.delete(record.seq)
        ready.set(record.seq, record.item)
      } else {
        this.#raw.set(record.seq, record.raw)
      }
    }
    for (const [seq, item] of ready) {
      this.#ready.set(this.#order++, { seq, item })
      this.knows(name(item.chatId, item.messageId))
    }
    try {
      this.#renew()
    } catch {
      // There is no room for another one: this one goes on, without the half of a record that its writer may have left.
      this.#file = fs.openSync(path, 'as', 0o600)
      this.#length = length
      this.#torn = true
    }
  }

  get length() {
    return this.#ready.size + this.#raw.size
  }

  /** Why nothing can be written; undefined: it can. */
  get trouble() {
    return this.#trouble
  }

  /** Whether a message came before; from now on it did. */
  knows(name) {
    if (this.#known.has(name)) return true
    this.#known.add(name)
    if (this.#known.size > KNOWN) this.#known.delete(this.#known.values().next().value)
    return false
  }

  /** Keeps a message as it came. Its number; undefined: too many wait. */
  begin(raw) {
    if (this.length >= MOST) {
      this.dropped += 1
      return undefined
    }
    const seq = this.#next++
    this.#raw.set(seq, raw)
    this.#write({ seq, raw })
    return seq
  }

  /** It is ready to be handed out; null: it says nothing to anybody. */
  finish(seq, item) {
    this.#raw.delete(seq)
    if (item) {
      this.#write({ seq, item })
      this.#ready.set(this.#order++, { seq, item })
      for (const wake of this.#waiting) wake()
    } else {
      this.#write({ seq, done: true })
    }
  }

  /** What was begun by a process that is gone. */
  begun() {
    return [...this.#raw]
  }

  /** The oldest that wait behind a number. They stay until they are confirmed. */
  peek(after) {
    const all = []
    for (const [number, { item }] of this.#ready) {
      if (number > after) all.push({ ...item, seq: number })
      if (all.length === BATCH) break
    }
    return all
  }

  /** The same, when there is something; what there is after so many milliseconds, or when nobody waits any more. */
  async wait(after, time, signal) {
    const all = this.peek(after)
    if (all.length > 0 || time === 0) return all
    await new Promise(done => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        done()
      }
      const timer = setTimeout(wake, time)
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
    return this.peek(after)
  }

  /** Forgets what was taken over. What it was. */
  confirm(numbers) {
    const items = []
    for (const number of numbers) {
      const found = this.#ready.get(number)
      if (!found) continue
      items.push(found.item)
      this.#ready.delete(number)
      this.#write({ seq: found.seq, done: true })
    }
    this.#shorten()
    return items
  }

  #shorten() {
    if (this.#late.length > 0 || this.#length <= (this.length === 0 ? EMPTIED : LONG)) return
    try {
      this.#renew()
    } catch {
      // The old one is still there, and good.
    }
  }

  #write(record) {
    this.#late.push(Buffer.from(JSON.stringify(record) + '\n'))
    if (this.#trouble === undefined) this.#flush()
  }

  #flush() {
    try {
      while (this.#late.length > 0) {
        if (this.#torn) fs.ftruncateSync(this.#file, this.#length)
        this.#torn = true
        written(this.#file, this.#late[0])
        this.#torn = false
        this.#length += this.#late.shift().length
      }
    } catch (error) {
      setTimeout(() => this.#flush(), AGAIN).unref()
      const isNew = this.#trouble === undefined
      this.#trouble = error.message
      if (isNew) this.#troubled(error.message)
      return
    }
    if (this.#trouble === undefined) return
    this.#trouble = undefined
    this.#troubled(undefined)
  }

  /** The journal of what waits, and nothing else. */
  #renew() {
    const records = [...this.#raw].map(([seq, raw]) => ({ seq, raw }))
    records.push(...this.#ready.values())
    const text = records.map(record => JSON.stringify(record) + '\n').join('')
    const fresh = `${this.#path}.new`
    const file = fs.openSync(fresh, WRITTEN, 0o600)
    try {
      written(file, Buffer.from(text))
    } finally {
      fs.closeSync(file)
    }
    fs.renameSync(fresh, this.#path)
    if (this.#file !== undefined) fs.closeSync(this.#file)
    this.#file = fs.openSync(this.#path, 'as', 0o600)
    this.#length = Buffer.byteLength(text)
    this.#torn = false
  }
}

/** Writes all of it: on a disk that gets full, a part may be written without an error. */
function written(file, bytes) {
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(file, bytes, done)
}

/** A message's name. */
export const name = (chat, id) => `${chat}\n${id}`

/** The records of a journal, and how long they are. The last line may be half of one, if its writer was killed. */
function read(path) {
  let text
  try {
    text = fs.readFileSync(path, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return { records: [], length: 0 }
    throw error
  }
  const lines = text.split('\n')
  const half = lines.pop()
  const records = []
  for (const [n, line] of lines.entries()) {
    if (line === '') continue
    try {
      const record = JSON.parse(line)
      if (Number.isSafeInteger(record.seq)) records.push(record)
    } catch (error) {
      throw new Error(`line ${n + 1} of ${path} is broken: ${error.message}`)
    }
  }
  return { records, length: Buffer.byteLength(text) - Buffer.byteLength(half) }
}
