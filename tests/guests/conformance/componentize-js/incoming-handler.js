// The conformance contract (`../README.md`) in JavaScript, on the bare interface.

import { Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';

// What is read at once.
const PIECE_BYTES = 64n * 1024n;
// The most that one blocking write may hold.
const WRITE_BYTES_MAX = 4096;

export const incomingHandler = {
  handle(request, responseOut) {
    const response = new OutgoingResponse(answer(request));
    const outgoing = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });
    const incoming = request.consume();
    copy(incoming, outgoing);
    OutgoingBody.finish(outgoing, trailers(incoming));
  },
};

// The head of the answer.
function answer(request) {
  const bytes = (text) => new TextEncoder().encode(text);
  const method = request.method();
  const entries = [
    ['seen-method', bytes(method.tag === 'other' ? method.val : method.tag.toUpperCase())],
    ['seen-target', bytes(request.pathWithQuery())],
  ];
  for (const [name, value] of request.headers().entries()) {
    if (name === 'bake') {
      entries.push(['set-cookie', value]);
    } else if (name === 'trailer' || name.startsWith('echo-')) {
      entries.push([name, value]);
    }
  }
  return Fields.fromList(entries);
}

// Sends every piece back before it asks for the next one.
function copy(incoming, outgoing) {
  const source = incoming.stream();
  const sink = outgoing.write();
  try {
    for (;;) {
      const piece = source.blockingRead(PIECE_BYTES);
      for (let start = 0; start < piece.length; start += WRITE_BYTES_MAX) {
        sink.blockingWriteAndFlush(piece.subarray(start, start + WRITE_BYTES_MAX));
      }
    }
  } catch (ended) {
    if (ended.payload?.tag !== 'closed') throw ended;
  }
  source[Symbol.dispose]();
  sink[Symbol.dispose]();
}

function trailers(incoming) {
  const future = IncomingBody.finish(incoming);
  const here = future.subscribe();
  here.block();
  here[Symbol.dispose]();
  // Here, taken once, and of a request that is complete: well twice over.
  const fields = future.get().val.val;
  future[Symbol.dispose]();
  return fields;
}
