// A handler of the raw interface: one instance answers many requests, and says how many.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.10';

let served = 0;

export const incomingHandler = {
  handle(request, responseOut) {
    served += 1;
    const method = request.method().tag.toUpperCase();
    const text = `incoming-handler: ${method} ${request.pathWithQuery()}, request ${served}\n`;

    const headers = Fields.fromList([['content-type', new TextEncoder().encode('text/plain')]]);
    const response = new OutgoingResponse(headers);
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });

    const stream = body.write();
    stream.blockingWriteAndFlush(new TextEncoder().encode(text));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
