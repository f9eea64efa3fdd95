"""Bodies in chunks (aws-chunked), as SDKs other than boto3 send them too."""

import hashlib

from door import crc32


def with_trailers(client):
    """Has checksums sent behind the bytes, in chunks (aws-chunked), which boto3 does by itself over HTTPS only."""

    def move(params, **_):
        algorithm = params["context"].get("checksum", {}).get("request_algorithm")
        if isinstance(algorithm, dict):
            algorithm["in"] = "trailer"

    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-call.s3.{operation}", move)
    return client


def unsigned_chunks(chunks, trailer=""):
    """A body in chunks without signatures; the last one of them is empty."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + f"0\r\n{trailer}\r\n".encode()


def signed_chunks(request, auth, chunks):
    """A body in chunks, each of which is signed together with what came before it."""
    previous = request.headers["Authorization"].rsplit("Signature=", 1)[1]
    body = b""
    for chunk in [*chunks, b""]:
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256-PAYLOAD",
                request.context["timestamp"],
                auth.credential_scope(request),
                previous,
                hashlib.sha256(b"").hexdigest(),
                hashlib.sha256(chunk).hexdigest(),
            ]
        )
        previous = auth.signature(text, request)
        body += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), previous.encode(), chunk)
    return body


def in_signed_chunks(door, key, pieces):
    """A PUT whose body comes in chunks with signatures, as SDKs for Java and for Go send it, and that body."""
    sent = b""
    # It is as long with another signature, so the second time it is known how long it is.
    for _ in range(2):
        headers = {"Content-Length": str(len(sent)), "X-Amz-Decoded-Content-Length": str(sum(map(len, pieces)))}
        headers["Content-Encoding"] = "aws-chunked"
        request, auth = door.signed("PUT", key, headers=headers, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        sent = signed_chunks(request, auth, pieces)
    return request, sent


def in_unsigned_chunks(door, key, pieces, trailer, length=None):
    """A PUT whose body comes in chunks with a CRC32 behind them, and that body; `length` is what it says of itself."""
    sent = unsigned_chunks(pieces, trailer)
    headers = {
        "Content-Encoding": "aws-chunked",
        "Content-Length": str(len(sent)),
        "X-Amz-Decoded-Content-Length": str(sum(map(len, pieces)) if length is None else length),
        "X-Amz-Trailer": "x-amz-checksum-crc32",
    }
    return door.signed("PUT", key, headers=headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")[0], sent


def crc32_behind(body):
    return f"x-amz-checksum-crc32:{crc32(body)}\r\n"
