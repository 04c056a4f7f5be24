// A collector of traces (OTLP over HTTP, in protocol buffers), as far as these checks need one.

import { createServer } from 'node:http'

/** The fields of a message by their numbers: whole numbers, or the bytes of what is longer. */
function fields(bytes) {
  const found = new Map()
  let at = 0
  const number = () => {
    let [value, shift] = [0n, 0n]
    for (;;) {
      if (at >= bytes.length) throw new Error('a number has no end')
      const byte = BigInt(bytes[at++])
      value |= (byte & 0x7fn) << shift
      if (byte < 0x80n) return value
      shift += 7n
    }
  }
  const piece = (length) => {
    if (at + length > bytes.length) throw new Error('a field has no end')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = Number(number())
    const [field, wire] = [tag >> 3, tag & 7]
    let value
    if (wire === 0) value = number()
    else if (wire === 1) value = piece(8)
    else if (wire === 2) value = piece(Number(number()))
    else if (wire === 5) value = piece(4)
    else throw new Error(`field ${field} is of the kind ${wire}`)
    found.set(field, [...(found.get(field) ?? []), value])
  }
  return found
}

const all = (message, field) => message.get(field) ?? []
const hex = (message, field) => Buffer.from(all(message, field)[0] ?? []).toString('hex')
const text = (message, field) => Buffer.from(all(message, field)[0] ?? []).toString()

/** An attribute's name, and its text or number as text. */
function attribute(bytes) {
  const pair = fields(bytes)
  const value = fields(all(pair, 2)[0])
  return [text(pair, 1), value.has(1) ? text(value, 1) : String(all(value, 3)[0])]
}

function span(bytes) {
  const message = fields(bytes)
  return {
    trace: hex(message, 1),
    id: hex(message, 2),
    parent: hex(message, 4),
    name: text(message, 5),
    kind: Number(all(message, 6)[0] ?? 0n),
    attributes: Object.fromEntries(all(message, 9).map(attribute)),
  }
}

/** The spans of one request: ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span. */
function spans(body) {
  const inner = (field) => (bytes) => all(fields(bytes), field)
  return [body].flatMap(inner(1)).flatMap(inner(2)).flatMap(inner(2)).map(span)
}

/** Starts one on a free loopback port. */
export async function start() {
  const collector = { spans: [], heads: [] }
  const server = createServer(async (request, response) => {
    const pieces = []
    for await (const piece of request) pieces.push(piece)
    collector.heads.push({ method: request.method, url: request.url, headers: request.headers })
    collector.spans.push(...spans(Buffer.concat(pieces)))
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  collector.url = `http://127.0.0.1:${server.address().port}/v1/traces`
  return collector
}
