// A web-style handler, as the documentation of componentize-js shows it. An instance of it answers one request only:
// the engine cannot respond to a second one.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  const body = await request.text();
  return new Response(`fetch-event: ${request.method} ${pathname}\n${body}`, {
    headers: { 'content-type': 'text/plain' },
  });
}
