// One message of WhatsApp as the gateway reads it, and its file on disk.

import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import * as baileys from '@whiskeysockets/baileys'

/** Longest text that is handed out, in characters; WhatsApp's own programs write no longer ones. */
const TEXT = 70_000
/** Time to fetch a file. */
const FETCH = 120_000
const KINDS = {
  imageMessage: 'image',
  videoMessage: 'video',
  ptvMessage: 'video',
  audioMessage: 'audio',
  documentMessage: 'document',
  stickerMessage: 'sticker',
}

/** An id without the device: `49111:3@s.whatsapp.net` is `49111@s.whatsapp.net`. */
export const plain = id => (id ? baileys.jidNormalizedUser(id) : '')
const isPhone = id => Boolean(id?.endsWith('@s.whatsapp.net'))

/** Of two ids of one person that with his number, and the other one. */
export function both(id, other) {
  const [one, two] = [plain(id), plain(other)]
  return isPhone(two) && !isPhone(one) ? [two, one] : [one, two]
}

/** Who and where: chat, other id of the chat, sender, other id of the sender. */
export function ends(message, me) {
  const { key } = message
  const [chatId, chatAlt] = both(key.remoteJid, key.remoteJidAlt)
  const isGroup = chatId.endsWith('@g.us')
  if (key.fromMe) return { chatId, chatAlt, isGroup, senderId: me[0] ?? '', senderAlt: me[1] ?? '' }
  const [senderId, senderAlt] = isGroup ? both(key.participant, key.participantAlt) : [chatId, chatAlt]
  return { chatId, chatAlt, isGroup, senderId, senderAlt }
}

/** What is told to the gateway; null: nobody is spoken to. The file is not fetched yet. */
export function told(message, me) {
  const content = baileys.normalizeMessageContent(message.message)
  const type = baileys.getContentType(content)
  if (!type || type === 'protocolMessage' || type === 'reactionMessage' || type === 'senderKeyDistributionMessage') return null
  const part = content[type]
  const context = part?.contextInfo ?? {}
  const kind = KINDS[type] ?? ''
  const body = text(content, type)
  if (!body && !kind) return null
  const quoted = context.quotedMessage ? baileys.normalizeMessageContent(context.quotedMessage) : undefined
  return {
    messageId: message.key.id,
    ...ends(message, me),
    senderName: message.pushName ?? '',
    body: body.slice(0, TEXT),
    hasMedia: kind !== '',
    mediaType: kind === 'audio' && part.ptt ? 'ptt' : kind,
    mime: part?.mimetype ?? '',
    fileName: part?.fileName ?? '',
    mediaSize: Number(part?.fileLength ?? 0),
    mediaUrls: [],
    mentionedIds: (context.mentionedJid ?? []).map(plain),
    quotedMessageId: context.stanzaId ?? '',
    quotedParticipant: plain(context.participant),
    quotedText: quoted ? text(quoted, baileys.getContentType(quoted)).slice(0, TEXT) : '',
    hasQuotedMessage: Boolean(quoted),
    botIds: me,
    timestamp: Number(message.messageTimestamp ?? 0),
    nativeType: type,
    nativeMetadata: {},
    fromMe: Boolean(message.key.fromMe),
  }
}

function text(content, type) {
  const part = content?.[type]
  switch (type) {
    case 'conversation':
      return content.conversation ?? ''
    case 'extendedTextMessage':
      return part.text ?? ''
    case 'buttonsResponseMessage':
      return part.selectedDisplayText ?? ''
    case 'templateButtonReplyMessage':
      return part.selectedDisplayText ?? ''
    case 'listResponseMessage':
      return part.title ?? ''
    case 'locationMessage':
    case 'liveLocationMessage':
      return `[Location: ${[part.degreesLatitude, part.degreesLongitude].join(', ')}${part.name ? ` (${part.name})` : ''}]`
    case 'contactMessage':
      return `[Contact: ${part.displayName ?? ''}]\n${part.vcard ?? ''}`
    case 'contactsArrayMessage':
      return (part.contacts ?? []).map(one => `[Contact: ${one.displayName ?? ''}]\n${one.vcard ?? ''}`).join('\n')
    case 'pollCreationMessage':
    case 'pollCreationMessageV2':
    case 'pollCreationMessageV3':
      return `[Poll: ${part.name ?? ''}]\n${(part.options ?? []).map(option => `- ${option.optionName}`).join('\n')}`
    case 'eventMessage':
      return `[Event: ${part.name ?? ''}]\n${part.description ?? ''}`
    default:
      return part?.caption ?? ''
  }
}

/** Fetches what came with a message into `directory`. Why there is no file is said in the item. */
export async function fetched(item, message, { directory, most, logger, socket }) {
  if (most && item.mediaSize > most) return { ...item, mediaError: 'it is too large' }
  const safe = item.messageId.replace(/[^A-Za-z0-9]/g, '').slice(0, 64)
  const target = path.join(directory, `${safe}-${Date.now()}`)
  try {
    const signal = AbortSignal.timeout(FETCH)
    const context = socket ? { logger, reuploadRequest: socket.updateMediaMessage } : undefined
    const stream = await baileys.downloadMediaMessage(message, 'stream', {}, context)
    await pipeline(stream, bounded(most), fs.createWriteStream(target, { mode: 0o600, flags: 'wx' }), { signal })
    return { ...item, mediaUrls: [target], mediaSize: fs.statSync(target).size }
  } catch (error) {
    fs.rmSync(target, { force: true })
    return { ...item, mediaError: String(error?.message ?? error).slice(0, 200) }
  }
}

/** No more than so many bytes, whatever was said before. */
const bounded = most =>
  async function* (pieces) {
    let length = 0
    for await (const piece of pieces) {
      length += piece.length
      if (most && length > most) throw new Error('it is too large')
      yield piece
    }
  }
