"""Bodies and what is said of them: checksums, chunks, and bytes that never come."""

import hashlib
import time

from door import MIB, NO_REPLY, b64, equal, is_there, keys_of, pattern, read, refused, send
from framing import crc32_behind, in_signed_chunks, in_unsigned_chunks, with_trailers

# Of b"123456789", as catalogues of checksums give them.
CHECKED = b"123456789"
CHECKSUMS = {
    "CRC32": b64(bytes.fromhex("cbf43926")),
    "CRC32C": b64(bytes.fromhex("e3069283")),
    "CRC64NVME": b64(bytes.fromhex("ae8b14860a799888")),
    "SHA1": b64(hashlib.sha1(CHECKED).digest()),
    "SHA256": b64(hashlib.sha256(CHECKED).digest()),
}


def checksums(door):
    """Checksums that hold are kept and told; nothing is written where one does not."""
    client, one = door.client(), {"Bucket": door.bucket, "Key": "key"}
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        field = f"Checksum{algorithm}"
        for sender in (client, with_trailers(door.client())):
            equal(sender.put_object(**one, Body=CHECKED, ChecksumAlgorithm=algorithm)[field], CHECKSUMS[algorithm])
            # boto3 checks what it reads.
            got = client.get_object(**one, ChecksumMode="ENABLED")
            equal((got[field], got["Body"].read()), (CHECKSUMS[algorithm], CHECKED), algorithm)
            equal(client.get_object(**one, Range="bytes=1-2", ChecksumMode="ENABLED").get(field), None, "of a range")
    for algorithm, checksum in CHECKSUMS.items():
        field = f"Checksum{algorithm}"
        equal(client.put_object(**one, Body=CHECKED, **{field: checksum})[field], checksum, "as it was sent")
        equal(client.head_object(**one, ChecksumMode="ENABLED")[field], checksum, "as it was kept")
        client.copy_object(Bucket=door.bucket, Key="copy", CopySource=one)
        kept = client.head_object(Bucket=door.bucket, Key="copy", ChecksumMode="ENABLED")
        equal(kept[field], checksum, "as a copy has it")
    client.put_object(**one, Body=CHECKED, ContentMD5=b64(hashlib.md5(CHECKED).digest()))
    etag = client.head_object(**one)["ETag"]
    for key in ("key", "new"):
        for algorithm, checksum in CHECKSUMS.items():
            wrong = {f"Checksum{algorithm}": checksum}
            equal(refused("BadDigest", client.put_object, Bucket=door.bucket, Key=key, Body=b"other", **wrong), 400)
        wrong = b64(hashlib.md5(b"other").digest())
        refused("BadDigest", client.put_object, Bucket=door.bucket, Key=key, Body=CHECKED, ContentMD5=wrong)
        # One that the server does not know is not taken for proven.
        wrong = b64(hashlib.sha512(b"other").digest())
        refused("NotImplemented", client.put_object, Bucket=door.bucket, Key=key, Body=CHECKED, ChecksumSHA512=wrong)
    equal(is_there(client, door.bucket, "new"), False, "what came with a wrong checksum")
    equal(client.head_object(**one)["ETag"], etag, "what was there before a wrong checksum")
    for about, trailer in (
        ("a wrong checksum behind the bytes", crc32_behind(b"other")),
        ("no checksum behind the bytes", ""),
        ("another checksum behind the bytes", f"x-amz-checksum-sha1:{CHECKSUMS['SHA1']}\r\n"),
    ):
        reply = send(door, *in_unsigned_chunks(door, "new", [CHECKED], trailer))
        equal((reply.status, reply.code), (400, "BadDigest"), about)
        equal(is_there(client, door.bucket, "new"), False, about)


def chunks(door):
    """Bodies in chunks as other SDKs send them: many that are signed, or a single one, however large."""
    client, body = door.client(), pattern(300_001)
    pieces = [body[place : place + 65_536] for place in range(0, len(body), 65_536)]
    reply = send(door, *in_signed_chunks(door, "signed", pieces))
    equal((reply.status, reply.code), (200, None), "signed chunks")
    equal(read(client, door.bucket, "signed") == body, True, "signed chunks")
    head = client.head_object(Bucket=door.bucket, Key="signed")
    equal(head.get("ContentEncoding"), None, "chunks are how bytes come, not what they are")
    mark = b"10000;chunk-signature="
    for about, change in (
        ("a changed chunk", lambda sent: sent[:-500] + bytes([sent[-500] ^ 1]) + sent[-499:]),
        ("a changed end", lambda sent: sent[:-5] + bytes([sent[-5] ^ 1]) + sent[-4:]),
        ("a chunk left out", lambda sent: mark + sent.split(mark, 2)[2]),
    ):
        request, sent = in_signed_chunks(door, "not", pieces)
        reply = send(door, request, change(sent))
        equal((reply.status, reply.code), (403, "SignatureDoesNotMatch"), about)
        equal(is_there(client, door.bucket, "not"), False, about)
    # SDKs for Go and Rust send one chunk when they know its length.
    body = pattern(20 * MIB)
    reply = send(door, *in_unsigned_chunks(door, "large", [body], crc32_behind(body)))
    equal((reply.status, reply.code), (200, None), "one large chunk")
    equal(read(client, door.bucket, "large") == body, True, "one large chunk")


def truncated(door):
    """Bytes that were announced and never come make no object, and leave the one that was there."""
    client = door.client()
    client.put_object(Bucket=door.bucket, Key="old", Body=b"old", Metadata={"a": "b"})
    old, fields = client.head_object(Bucket=door.bucket, Key="old"), ("ETag", "LastModified", "Metadata")
    body = pattern(200_000)
    pieces, announced = [body[:100_000], body[100_000:]], {"Content-Length": str(len(body))}
    requests = {
        "a signed body": lambda key: (door.signed("PUT", key, body=body, headers=announced)[0], body),
        "a body": lambda key: (door.signed("PUT", key, headers=announced, payload="UNSIGNED-PAYLOAD")[0], body),
        "signed chunks": lambda key: in_signed_chunks(door, key, pieces),
        "chunks": lambda key: in_unsigned_chunks(door, key, pieces, crc32_behind(body)),
    }
    for name, make in requests.items():
        for key in ("old", "new"):
            # Nothing, in the middle of a chunk, about where one ends, and right before the end.
            for sent in (0, 50_000, 100_003, 100_090, -1):
                for end in ("half", "reset"):
                    request, bytes_ = make(key)
                    reply = send(door, request, bytes_[:sent], end)
                    # Nobody may hear an answer, but it must not be a good one.
                    about = f"{name} cut off at {sent}, {end}: {reply}"
                    equal(reply == NO_REPLY or 400 <= reply.status < 500, True, about)
        # What was cut off a moment ago may still be under way.
        time.sleep(0.1)
        equal(is_there(client, door.bucket, "new"), False, name)
        now = client.head_object(Bucket=door.bucket, Key="old")
        equal([now[field] for field in fields], [old[field] for field in fields], name)
        equal(read(client, door.bucket, "old"), b"old", name)
        equal(send(door, *make("whole")).status, 200, f"all of {name}")
        equal(read(client, door.bucket, "whole") == body, True, f"all of {name}")
    # The request is whole, but its chunks do not hold what they should.
    for length in (len(body) + 1, len(body) - 1):
        reply = send(door, *in_unsigned_chunks(door, "new", pieces, crc32_behind(body), length))
        equal((reply.status, reply.code), (400, "IncompleteBody"), f"{length} bytes announced")
    equal(keys_of(client, door.bucket), ["old", "whole"], "what is there")
