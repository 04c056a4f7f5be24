// The gateway alone before two FHIR servers that are not ours: one that others wrote and a stub.
// Prints a line per check; ends with 1 when one fails.
//
// usage: node foreign.mjs PROGRAM DIRECTORY

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import * as collectors from './collector.mjs'
import * as fhirRouter from './fhir_router.mjs'
import * as gateways from './gateway.mjs'
import * as stubs from './stub.mjs'

const [program, work] = process.argv.slice(2)
const hub = 'https://hub.example.org'
const ehr = await fhirRouter.start('/r4', `${hub}/ehr`)
const lost = await fhirRouter.start('/r4', 'http://10.0.0.9/r4')
const [one, two, canary, copies] = await Promise.all(
  ['one', 'two', 'canary', 'copies'].map((name) => stubs.start(name))
)
const collector = await collectors.start()

const itsBase = `base_pointer = "/implementation/url", base = "${hub}/ehr"`
const at = (server) => `{ address = "127.0.0.1:${server.port}" }`
const text = `
public_base_url = "${hub}"
[traces]
endpoint = "${collector.url}"
sample = 1
[gateway]
server = false
[gateway.upstreams.ehr]
endpoints = [${at(ehr)}]
enforces = "none"
health = { path = "/r4/metadata", interval_ms = 200, ${itsBase} }
[gateway.upstreams.stub]
endpoints = [${at(one)}, ${at(two)}]
enforces = "none"
health = { path = "/health", interval_ms = 200 }
[gateway.upstreams.canary]
endpoints = [${at(canary)}]
enforces = "none"
[gateway.upstreams.copies]
endpoints = [${at(copies)}]
enforces = "none"
[[gateway.routes]]
name = "ehr"
path = "/ehr"
upstream = "ehr"
upstream_path = "/r4"
[[gateway.routes]]
name = "stub"
path = "/stub"
content = "other"
upstream = "stub"
mirror = { upstream = "copies", percent = 100 }
[[gateway.routes]]
name = "shared"
path = "/shared"
content = "other"
split = [{ upstream = "stub", weight = 95 }, { upstream = "canary", weight = 5 }]
sticky_header = "x-session"
[plans.fast]
says = "A request a second."
rates = [{ per_second = 1, burst = 20 }]
[plans.month]
says = "Thirty requests a month."
quotas = [{ of = "requests", most = 30, per = "month" }]
`

let failed = 0
function check(what, holds, found) {
  console.log(`${holds ? 'ok    ' : 'FAILED'}  ${what}${holds ? '' : `: ${JSON.stringify(found)}`}`)
  if (!holds) failed += 1
}

let gateway = await gateways.start(program, work, text)
const ready = async () => (await fetch(`${gateway.admin}/readyz`)).status === 200
async function until(what, holds) {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await holds()) return check(what, true)
    await pause(100)
  }
  return check(what, false, 'not within 10 s')
}

try {
  await until('the gateway is ready', ready)
  const key = gateways.key(gateway, '--role', 'system', '--client', 'all')
  const ask = (path, more = {}) => gateways.ask(gateway, path, { key, ...more })

  // Whose bytes come, and that they are theirs.
  const made = []
  for (const family of ['Anders', 'Berg', 'Çelik 😀']) {
    const body = JSON.stringify({ resourceType: 'Patient', name: [{ family }] })
    made.push(await ask('/ehr/Patient', { method: 'POST', body }))
  }
  check('patients are made at the FHIR server', made.every(({ status }) => status === 201), made)
  const { id: patient } = JSON.parse(made[2].text)
  const answers = [
    ...made,
    await ask(`/ehr/Patient/${patient}`),
    await ask('/ehr/Patient?name=berg'),
    await ask(`/ehr/Patient/${patient}/_history`),
    await ask('/ehr/Patient/00000000-0000-4000-8000-000000000000'),
    await ask('/ehr/Patient?birthdate=yesterday'),
  ]
  const same = answers.filter(({ id, digest }) => ehr.seen.get(id)?.digest === digest)
  check('bodies are equal byte for byte, errors too', same.length === answers.length, answers)
  check('a search is answered by it', JSON.parse(answers[4].text).total === 1, answers[4].text)
  check('its 404 is its own', answers[6].status === 404, answers[6])
  const asked = [...ehr.seen.values()].map(({ headers }) => JSON.stringify(headers))
  check('no key reaches it', !asked.some((headers) => headers.includes(key)), asked)
  const contract = asked.filter((headers) => headers.includes('hearthgate-'))
  check('no word of the contract does', contract.length === 0, contract)
  check('without a key nobody asks', (await ask('/ehr/Patient', { key: undefined })).status === 401)
  check('other paths are nowhere', (await ask('/lab/Patient')).status === 404)
  const parent = `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`
  const traced = await ask('/ehr/Patient?name=berg', { headers: { traceparent: parent } })
  const passed = ehr.seen.get(traced.id).headers.traceparent
  check('a trace goes on', passed?.split('-')[1] === parent.split('-')[1], passed)

  // That trace, as the collector has it: who asked, the gateway, the way to the FHIR server.
  const [, trace, app] = parent.split('-')
  const ofTrace = () => collector.spans.filter((span) => span.trace === trace)
  await until('its spans come to the collector', async () => ofTrace().length >= 2)
  const here = ofTrace().find(({ parent: above }) => above === app)
  const way = ofTrace().find(({ parent: above }) => above === here?.id)
  check('it is one tree of the gateway and the way', ofTrace().length === 2 && way, ofTrace())
  check('the gateway answers, the way asks', here?.kind === 2 && way?.kind === 3, ofTrace())
  check('the FHIR server is below the way', passed === `00-${trace}-${way?.id}-01`, [passed, way])
  const { 'hearthgate.request_id': ofRequest, 'hearthgate.route': route } = here?.attributes ?? {}
  check('its spans say the request and the route', ofRequest === traced.id && route === 'ehr', here)
  check('and the upstream', way?.attributes['hearthgate.upstream'] === 'ehr', way)
  const begun = await ask('/ehr/Patient?name=berg')
  const own = () => collector.spans.find(
    ({ attributes }) => attributes['hearthgate.request_id'] === begun.id
  )
  await until('a trace begins here where none came', async () => own()?.parent === '')
  const told = ehr.seen.get(begun.id).headers.traceparent
  check('and the FHIR server is told of it', told?.split('-')[1] === own()?.trace, [told, own()])
  const said = JSON.stringify(collector.spans)
  check('no span says what was asked', !/berg|Çelik|name=/.test(said) && !said.includes(key), said)
  const form = collector.heads.find(({ method, url }) => method !== 'POST' || url !== '/v1/traces')
  check('spans come as OTLP does', !form && collector.heads.length > 0, form)

  // Failover: one of two ends in the middle of requests.
  const through = async (times) => {
    const statuses = []
    for (let done = 0; done < times; done += 1) statuses.push((await ask('/stub/any')).status)
    return statuses.filter((status) => status !== 200).length
  }
  const none = await through(100)
  const counts = [none, one.count, two.count]
  check('both endpoints are asked', counts.join() === '0,50,50', counts)
  const under = Promise.all([through(200), through(200), through(200)])
  await pause(50)
  await two.stop()
  const failures = (await under).reduce((sum, count) => sum + count)
  check('no request fails while an endpoint ends', failures === 0, failures)
  await two.listen()
  const before = two.count
  await until('it comes back by itself', async () => (await through(4)) === 0 && two.count > before)

  // Copies.
  const copied = copies.count
  check('requests are copied', copied > 0 && copied <= one.count + two.count, copied)
  check('copies carry no credentials', copies.seen.every(({ headers }) => !headers.authorization))
  await copies.stop()
  check('where copies go may be away', (await through(100)) === 0)

  // Shares.
  const [stubBefore, canaryBefore] = [one.count + two.count, canary.count]
  for (let done = 0; done < 2000; done += 1) await ask('/shared/any')
  const share = canary.count - canaryBefore
  const rest = one.count + two.count - stubBefore
  check('one in twenty goes to the canary', share >= 50 && share <= 160, share)
  check('and all others do not', share + rest === 2000, [share, rest])
  let session
  for (let number = 0; !session; number += 1) {
    const headers = { 'x-session': `s${number}` }
    if ((await ask('/shared/any', { headers })).text === 'canary') session = headers
  }
  const kept = []
  for (let done = 0; done < 50; done += 1) {
    kept.push((await ask('/shared/any', { headers: session })).text)
  }
  check('a session stays where it is', kept.every((name) => name === 'canary'), kept)

  // Limits and quotas.
  const quick = gateways.key(gateway, '--role', 'system', '--plan', 'fast', '--client', 'quick')
  const began = Date.now()
  const atOnce = Array.from({ length: 40 }, () => ask('/stub/any', { key: quick }))
  const burst = await Promise.all(atOnce)
  const admitted = burst.filter(({ status }) => status === 200).length
  const most = 21 + (Date.now() - began) / 1000
  check('a rate lets its burst in', admitted >= 20 && admitted <= most, admitted)
  const refused = burst.find(({ status }) => status === 429)
  check('others are told when', Number(refused?.headers.get('retry-after')) >= 1, refused)
  const counted = ['--role', 'system', '--plan', 'month']
  const monthly = gateways.key(gateway, ...counted, '--client', 'monthly')
  const spent = async () => {
    const statuses = []
    for (let done = 0; done < 40; done += 1) {
      statuses.push((await ask('/ehr/Patient?name=berg', { key: monthly })).status)
    }
    return statuses.filter((status) => status === 200).length
  }
  check('a quota ends', (await spent()) === 30)
  await pause(1500)
  await gateways.kill(gateway)
  gateway = await gateways.start(program, work, text)
  await until('it is ready after a kill', ready)
  check('and is not anew after a kill', (await spent()) === 0)

  // A server that leads its callers past the gateway.
  await gateways.kill(gateway)
  const astray = text.replace(`127.0.0.1:${ehr.port}`, `127.0.0.1:${lost.port}`)
  gateway = await gateways.start(program, work, astray)
  await until('a server with other links is named', async () => gateway.log.includes('10.0.0.9'))
  check('and nobody is sent there', !(await ready()))
} catch (error) {
  check(error.stack, false)
} finally {
  await gateways.kill(gateway)
}
process.exit(failed ? 1 : 0)
