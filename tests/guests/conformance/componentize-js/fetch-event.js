// The conformance contract (`../README.md`) as a web-style handler. `Headers` joins the values of a field by commas and
// knows nothing of trailers, so neither does this.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

function answer(request) {
  const headers = new Headers();
  headers.set('seen-method', request.method);
  headers.set('seen-target', request.url.replace(/^[^/]*\/\/[^/]*/, ''));
  for (const [name, value] of request.headers) {
    if (name === 'bake') {
      for (const cookie of value.split(', ')) headers.append('set-cookie', cookie);
    } else if (name === 'trailer' || name.startsWith('echo-')) {
      headers.set(name, value);
    }
  }
  // Through a TransformStream the engine hands the body on by itself. Read here, piece by piece, it would leak a resource
  // with each of them and be stopped after 3 MB.
  return new Response(request.body?.pipeThrough(new TransformStream()), { headers });
}
