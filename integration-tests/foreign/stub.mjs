// A server that answers everything with its name, and counts. It can be stopped and started.

import { createServer } from 'node:http'

/** Starts one on a free loopback port. */
export async function start(name) {
  const stub = { name, count: 0, seen: [] }
  let server
  let open

  stub.listen = async () => {
    open = new Set()
    server = createServer((request, response) => {
      if (request.url.endsWith('/health')) return response.end('well')
      stub.count += 1
      stub.seen.push({ method: request.method, url: request.url, headers: request.headers })
      response.writeHead(200, { 'content-type': 'text/plain' })
      return response.end(name)
    })
    server.on('connection', (socket) => {
      open.add(socket)
      socket.on('close', () => open.delete(socket))
    })
    await new Promise((done) => server.listen(stub.port ?? 0, '127.0.0.1', done))
    stub.port = server.address().port
  }

  stub.stop = async () => {
    const closed = new Promise((done) => server.close(done))
    for (const socket of open) socket.destroy()
    await closed
  }

  await stub.listen()
  return stub
}
