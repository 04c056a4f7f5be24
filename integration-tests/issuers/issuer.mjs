// An issuer of others' making (oidc-provider) on a free loopback port: its keys can be replaced,
// and it can be away.

import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

/** What tokens are for. */
export const audience = 'https://ehr.example.org/fhir'
/** Another place, whose tokens are not for here. */
export const elsewhere = 'https://other.example.org/fhir'
/** The same place by tokens that say nothing by themselves. */
export const opaque = 'https://ehr.example.org/fhir/opaque'
/** The same place by tokens that are good for a second. */
export const short = 'https://ehr.example.org/fhir/short'

const scope = 'user/Patient.rs user/Patient.cruds system/Patient.rs system/Patient.cruds patient/*.rs'

function signingKey(kid) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }
}

/** Starts it. */
export async function start() {
  let provider
  let away = false
  const server = createServer((request, response) => {
    if (away) return request.socket.destroy()
    if (request.url.startsWith('/interaction/')) return interact(request, response)
    return provider.callback()(request, response)
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${server.address().port}`
  const redirect = `${url}/redirected`
  let key

  // Lets everybody in at once, and gives every app what it asks for.
  async function interact(request, response) {
    const { prompt, params, grantId, session } = await provider.interactionDetails(request, response)
    if (prompt.name === 'login') {
      return provider.interactionFinished(request, response, { login: { accountId: 'u-1' } })
    }
    const accountId = session.accountId
    const grant = (grantId && (await provider.Grant.find(grantId)))
      || new provider.Grant({ accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    grant.addResourceScope(params.resource, params.scope)
    const consent = { grantId: await grant.save() }
    return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true })
  }

  function replaceKey(kid) {
    key = signingKey(kid)
    const confidential = (client_id, grant_types, more) => ({
      client_id, client_secret: 'a secret', grant_types, redirect_uris: [], response_types: [], ...more,
    })
    const app = { redirect_uris: [redirect], response_types: ['code'] }
    provider = new Provider(url, {
      jwks: { keys: [key] },
      cookies: { keys: ['not secret'] },
      scopes: ['openid', ...scope.split(' ')],
      clients: [
        confidential('backend', ['client_credentials']),
        confidential('gate', ['client_credentials']),
        confidential('app', ['authorization_code'], app),
      ],
      findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
      interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
      extraTokenClaims: (_, token) => (token.accountId ? { fhirUser: `${audience}/Practitioner/7` } : {}),
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        introspection: { enabled: true, allowedPolicy: () => true },
        resourceIndicators: {
          enabled: true,
          useGrantedResource: () => true,
          getResourceServerInfo: (_, resource) => ({
            scope,
            audience: resource === elsewhere ? elsewhere : audience,
            accessTokenTTL: resource === short ? 1 : 600,
            accessTokenFormat: resource === opaque ? 'opaque' : 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
    })
  }
  replaceKey('first')

  async function asked(path, form, client) {
    const authorization = `Basic ${Buffer.from(`${client}:a+secret`).toString('base64')}`
    const body = new URLSearchParams(form)
    const answer = await fetch(url + path, { method: 'POST', body, headers: { authorization } })
    const document = await answer.json()
    if (!answer.ok) throw new Error(`${path}: ${JSON.stringify(document)}`)
    return document
  }

  return {
    url,
    replaceKey,
    publicKey: () => ({ kty: 'RSA', n: key.n, e: key.e, kid: key.kid }),
    isAway: (is) => { away = is },
    stop: () => server.close(),
    /** A token by client credentials. */
    async ofBackend(more = {}) {
      const form = { grant_type: 'client_credentials', resource: audience, scope: 'system/Patient.rs', ...more }
      return (await asked('/token', form, 'backend')).access_token
    },
    /** A token by the code flow, as a browser and an app do it. */
    async ofApp() {
      const cookies = new Map()
      const query = new URLSearchParams({
        client_id: 'app', response_type: 'code', redirect_uri: redirect, resource: audience,
        scope: 'openid user/Patient.rs',
      })
      let next = `${url}/auth?${query}`
      for (let steps = 0; !next.startsWith(redirect); steps += 1) {
        if (steps > 20) throw new Error(`the code flow does not end: ${next}`)
        const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
        const answer = await fetch(next, { redirect: 'manual', headers: { cookie } })
        for (const set of answer.headers.getSetCookie()) {
          const [name, value] = set.split(';')[0].split('=')
          cookies.set(name, value)
        }
        const location = answer.headers.get('location')
        if (!location) throw new Error(`${next}: ${answer.status} ${await answer.text()}`)
        next = new URL(location, url).href
      }
      const code = new URL(next).searchParams.get('code')
      if (!code) throw new Error(next)
      const form = { grant_type: 'authorization_code', code, redirect_uri: redirect, resource: audience }
      return (await asked('/token', form, 'app')).access_token
    },
  }
}
