"""The conformance contract (`../README.md`) in Python, on the bare interface."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import InputStream, OutputStream, StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingBody,
    IncomingRequest,
    Method,
    Method_Other,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

# What is read at once.
PIECE_BYTES = 64 * 1024
# The most that one blocking write may hold.
WRITE_BYTES_MAX = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        response = OutgoingResponse(answer(request))
        outgoing = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        incoming = request.consume()
        with incoming.stream() as source, outgoing.write() as sink:
            copy(source, sink)
        OutgoingBody.finish(outgoing, trailers(incoming))


def answer(request: IncomingRequest) -> Fields:
    """The head of the answer."""
    entries = [
        ("seen-method", name_of(request.method()).encode()),
        ("seen-target", (request.path_with_query() or "").encode()),
    ]
    with request.headers() as fields:
        for name, value in fields.entries():
            if name == "bake":
                entries.append(("set-cookie", value))
            elif name == "trailer" or name.startswith("echo-"):
                entries.append((name, value))
    return Fields.from_list(entries)


def name_of(method: Method) -> str:
    if isinstance(method, Method_Other):
        return method.value
    return type(method).__name__.removeprefix("Method_").upper()


def copy(source: InputStream, sink: OutputStream) -> None:
    """Sends every piece back before it asks for the next one."""
    while True:
        try:
            piece = source.blocking_read(PIECE_BYTES)
        except Err as ended:
            if isinstance(ended.value, StreamError_Closed):
                return
            raise
        for start in range(0, len(piece), WRITE_BYTES_MAX):
            sink.blocking_write_and_flush(piece[start : start + WRITE_BYTES_MAX])


def trailers(incoming: IncomingBody) -> Fields | None:
    with IncomingBody.finish(incoming) as future:
        with future.subscribe() as here:
            here.block()
        # Here, taken once, and of a request that is complete: three times well.
        return future.get().value.value
