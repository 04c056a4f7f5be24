// A clinic that accepts the issuer's tokens, in a directory of its own.

import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { audience } from './issuer.mjs'

/** Starts it; `program` is the hearthgate to run, `work` the directory. */
export async function start(program, work, issuer) {
  const config = join(work, 'hearthgate.toml')
  const secret = join(work, 'secret')
  writeFileSync(secret, 'a secret\n', { mode: 0o600 })
  writeFileSync(config, `
public_base_url = "${audience}"
[gateway]
failures_burst = 100
[gateway.issuers.hospital]
issuer = "${issuer.url}"
audience = "${audience}"
leeway_seconds = 5
fetch_seconds = 1
[gateway.issuers.hospital.introspection]
url = "${issuer.url}/token/introspection"
client_id = "gate"
secret_file = "${secret}"
again_seconds = 1
[gateway.issuers.hospital.clients.backend]
role = "reader"
[gateway.issuers.hospital.clients.app]
role = "reader"
`)
  const clinic = { program, data: join(work, 'data'), config }
  await serve(clinic)
  return clinic
}

/** Serves, again after it was killed. */
export async function serve(clinic) {
  const { program, data, config } = clinic
  const any = '127.0.0.1:0'
  const words = ['serve', '--data', data, '--config', config, '--listen', any, '--admin', any]
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ready = new Promise((done, failed) => {
    let text = ''
    child.stderr.on('data', (piece) => {
      text += piece
      const listens = /metrics and readiness: (http:\/\/[^)]*)\)/.exec(text)
      const at = /the gateway listens listen=(\S+)/.exec(text)
      if (listens && at) done([`http://${at[1]}/fhir`, listens[1]])
    })
    child.on('exit', () => failed(new Error(`the clinic did not start: ${text}`)))
  })
  const [base, admin] = await ready
  Object.assign(clinic, { base, admin, child })
  for (let tries = 0; (await fetch(`${admin}/readyz`)).status !== 200; tries += 1) {
    if (tries > 300) throw new Error('the clinic is not ready')
    await new Promise((done) => setTimeout(done, 100))
  }
}

/** Ends it, at once. */
export async function kill(clinic) {
  const ended = new Promise((done) => clinic.child.on('exit', done))
  clinic.child.kill('SIGKILL')
  await ended
}

/** Gives the clinic a command. */
export function command(clinic, ...words) {
  const done = spawnSync(clinic.program, [...words, '--data', clinic.data], { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`${words.join(' ')}: ${done.stderr}`)
  return done.stdout
}

/** Asks with a token: status and challenge. */
export async function ask(clinic, token, path = '/Patient', method = 'GET') {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(clinic.base + path, { method, headers })
  await answer.text()
  return { status: answer.status, challenge: answer.headers.get('www-authenticate') || '' }
}
