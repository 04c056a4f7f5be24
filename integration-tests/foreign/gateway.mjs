// Hearthgate's gateway alone, before servers of others, in a directory of its own.

import { spawn, spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Starts it with a configuration; `program` is the hearthgate to run, `work` the directory. */
export async function start(program, work, text) {
  const config = join(work, 'hearthgate.toml')
  const data = join(work, 'data')
  writeFileSync(config, text)
  const any = '127.0.0.1:0'
  const words = ['gateway', '--data', data, '--config', config, '--listen', any, '--admin', any]
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] })
  const gateway = { program, data, child, log: '' }
  await new Promise((done, failed) => {
    child.stderr.on('data', (piece) => {
      gateway.log += piece
      const admin = /metrics and readiness: (http:\/\/[^)]*)\)/.exec(gateway.log)
      const listens = /the gateway listens listen=(\S+)/.exec(gateway.log)
      if (!admin || !listens) return
      gateway.admin = admin[1]
      gateway.base = `http://${listens[1]}`
      done()
    })
    child.on('exit', () => failed(new Error(`the gateway did not start: ${gateway.log}`)))
  })
  return gateway
}

/** Ends it, at once. */
export async function kill(gateway) {
  const ended = new Promise((done) => gateway.child.on('exit', done))
  gateway.child.kill('SIGKILL')
  await ended
}

/** A new key. */
export function key(gateway, ...words) {
  const line = ['keys', 'create', '--print-key', ...words, '--data', gateway.data]
  const done = spawnSync(gateway.program, line, { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`${line.join(' ')}: ${done.stderr}`)
  return done.stdout.trim().split('\n').pop()
}

/** Asks: the answer's status, headers and text, the digest of its bytes, and the request's id. */
export async function ask(gateway, path, { method = 'GET', key, headers = {}, body } = {}) {
  const id = randomUUID()
  const sent = { 'x-request-id': id, ...headers }
  if (key) sent.authorization = `Bearer ${key}`
  if (body) sent['content-type'] = 'application/fhir+json'
  const answer = await fetch(gateway.base + path, { method, headers: sent, body })
  const bytes = Buffer.from(await answer.arrayBuffer())
  const digest = createHash('sha256').update(bytes).digest('hex')
  return { id, status: answer.status, headers: answer.headers, digest, text: bytes.toString() }
}
