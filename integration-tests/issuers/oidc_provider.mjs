// Tokens of oidc-provider at a clinic's gateway: those that are good, and all that is wrong with
// others. Prints a line per check; ends with 1 when one fails.
//
// usage: node oidc_provider.mjs PROGRAM DIRECTORY

import { createHmac, createPublicKey } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import * as issuers from './issuer.mjs'
import * as gateway from './gateway.mjs'

const [program, work] = process.argv.slice(2)
const issuer = await issuers.start()
const clinic = await gateway.start(program, work, issuer)
let failed = 0

function check(what, holds, found) {
  console.log(`${holds ? 'ok    ' : 'FAILED'}  ${what}${holds ? '' : `: ${JSON.stringify(found)}`}`)
  if (!holds) failed += 1
}

async function accepts(what, token) {
  const found = await gateway.ask(clinic, token)
  check(what, found.status === 200, found)
}

async function refuses(what, token, says, status = 401) {
  const found = await gateway.ask(clinic, token)
  check(what, found.status === status && found.challenge.includes(says), found)
}

function claimsOf(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
}

function forged(header, token, sign) {
  const first = Buffer.from(JSON.stringify(header)).toString('base64url')
  const signed = `${first}.${token.split('.')[1]}`
  return `${signed}.${sign(signed)}`
}

try {
  const backend = await issuer.ofBackend()
  const app = await issuer.ofApp()
  await accepts('client credentials are accepted', backend)
  await accepts('the code flow is accepted', app)
  const found = await gateway.ask(clinic, app, '/Patient/1', 'DELETE')
  const lacks = found.status === 403 && found.challenge.includes('scope="user/Patient.d"')
  check('what scopes and role do not permit is 403 with the scope', lacks, found)

  await refuses('another audience is refused', await issuer.ofBackend({ resource: issuers.elsewhere }), 'audience')
  const soon = await issuer.ofBackend({ resource: issuers.short })
  await accepts('a token of a second is accepted', soon)

  const jwk = issuer.publicKey()
  const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  for (const secret of [pem, jwk.n, JSON.stringify(jwk)]) {
    const hmac = (signed) => createHmac('sha256', secret).update(signed).digest('base64url')
    await refuses('HS256 with the public key is refused', forged({ alg: 'HS256', kid: jwk.kid }, backend, hmac), 'algorithm')
  }
  await refuses('none is refused', forged({ alg: 'none' }, backend, () => ''), 'algorithm')
  const kept = backend.split('.')[2]
  await refuses('RS384 by the key of RS256 is refused', forged({ alg: 'RS384', kid: jwk.kid }, backend, () => kept), 'algorithm')
  await refuses('another signature is refused', forged({ alg: 'RS256', kid: jwk.kid, typ: 'JWT' }, backend, () => kept), 'signature')

  const secret = await issuer.ofBackend({ resource: issuers.opaque })
  check('an opaque token says nothing', !secret.includes('.'), secret)
  await accepts('an opaque token is accepted by introspection', secret)
  await refuses('an unknown opaque token is refused', 'x'.repeat(43), 'not active')

  // Not shown to the gateway before the issuer is away.
  const fresh = await issuer.ofBackend()
  await pause(1100)
  issuer.isAway(true)
  await accepts('a token that was believed stays so while the issuer is away', backend)
  await accepts('so does an opaque one', secret)
  await accepts('another of a known key is accepted meanwhile', fresh)
  await gateway.kill(clinic)
  await gateway.serve(clinic)
  await accepts('also when the gateway was killed and started meanwhile', backend)
  await refuses('an opaque one that nobody can be asked about is told to wait', secret, '', 503)
  issuer.isAway(false)

  issuer.replaceKey('second')
  await pause(1100)
  const rotated = await issuer.ofBackend()
  await accepts('another key is fetched', rotated)
  await refuses('what the key before signed is refused', backend, 'key')

  gateway.command(clinic, 'tokens', 'revoke', '--issuer', 'hospital', '--jti', claimsOf(rotated).jti)
  await refuses('a revoked token is refused', rotated, 'revoked')
  await gateway.kill(clinic)
  await gateway.serve(clinic)
  await refuses('also after a kill', rotated, 'revoked')
  await accepts('another of that client is accepted', await issuer.ofBackend())
  const late = Math.max(0, (claimsOf(soon).exp + 5) * 1000 - Date.now())
  await pause(late)
  await refuses('an expired token is refused', soon, 'expired')
} catch (error) {
  check(error.stack, false)
} finally {
  await gateway.kill(clinic)
  issuer.stop()
}
process.exit(failed ? 1 : 0)
