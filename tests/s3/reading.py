"""Objects read: on condition, in part, and while they change."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from door import MIB, PART_BYTES, equal, md5, pattern, read, refused
from uploads import begun, whole


def conditional_reads(door):
    """Reads that want something of what is there."""
    client, one = door.client(), {"Bucket": door.bucket, "Key": "key"}
    etag = client.put_object(**one, Body=b"body")["ETag"]
    modified = client.head_object(**one)["LastModified"]
    before, after = modified - timedelta(seconds=2), modified + timedelta(seconds=2)
    for met in (
        {"IfMatch": etag},
        {"IfMatch": etag.strip('"')},
        {"IfMatch": "*"},
        {"IfNoneMatch": '"other"'},
        {"IfModifiedSince": before},
        {"IfUnmodifiedSince": modified},
        {"IfUnmodifiedSince": after},
        # An etag that fits outweighs a date that does not.
        {"IfMatch": etag, "IfUnmodifiedSince": before},
        {"IfNoneMatch": '"other"', "IfModifiedSince": modified},
    ):
        equal(client.get_object(**one, **met)["Body"].read(), b"body", f"what is read with {met}")
        equal(client.head_object(**one, **met)["ContentLength"], 4, f"what is looked at with {met}")
    for code, unmet in (
        ("304", {"IfNoneMatch": etag}),
        ("304", {"IfNoneMatch": f"W/{etag}"}),
        ("304", {"IfNoneMatch": "*"}),
        ("304", {"IfModifiedSince": modified}),
        ("304", {"IfModifiedSince": after}),
        ("304", {"IfNoneMatch": etag, "IfModifiedSince": before}),
        ("412", {"IfMatch": '"other"'}),
        ("412", {"IfUnmodifiedSince": before}),
        ("412", {"IfMatch": '"other"', "IfNoneMatch": etag}),
    ):
        equal(refused(code, client.head_object, **one, **unmet), int(code), f"the status of {unmet}")
        named = "PreconditionFailed" if code == "412" else code
        equal(refused(named, client.get_object, **one, **unmet), int(code), f"the status of {unmet}")
    refused("NoSuchKey", client.get_object, Bucket=door.bucket, Key="missing", IfMatch=etag)
    # What is kept by a cache is known by its etag also when it has not changed.
    url = client.generate_presigned_url("get_object", one)
    connection = door.connection()
    connection.request("GET", url.removeprefix(door.endpoint), headers={"If-None-Match": etag})
    answer = connection.getresponse()
    equal((answer.status, answer.read(), answer.headers["ETag"]), (304, b"", etag), "what a cache is told")
    connection.close()


def ranges(door):
    """Parts of objects, of those in one file and of those in several."""
    client = door.client()
    small, large = pattern(1_000, 1), pattern(PART_BYTES + 100, 2)
    client.put_object(Bucket=door.bucket, Key="small", Body=small)
    client.put_object(Bucket=door.bucket, Key="empty", Body=b"")
    upload = begun(client, door, "large")
    etags = [
        client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, large[:PART_BYTES]), (2, large[PART_BYTES:]))
    ]
    client.complete_multipart_upload(**upload, MultipartUpload=whole((1, etags[0]), (2, etags[1])))
    for key, body in (("small", small), ("large", large)):
        length = len(body)
        for wanted, first, last in (
            ("0-0", 0, 0),
            ("1-1", 1, 1),
            ("0-", 0, length - 1),
            (f"{length - 1}-", length - 1, length - 1),
            ("-1", length - 1, length - 1),
            (f"-{length + 5}", 0, length - 1),
            (f"{length - 5}-{length + 5}", length - 5, length - 1),
            (f"{min(PART_BYTES, length) - 10}-{length - 3}", min(PART_BYTES, length) - 10, length - 3),
            ("0-9223372036854775807", 0, length - 1),
        ):
            for call in (client.get_object, client.head_object):
                got = call(Bucket=door.bucket, Key=key, Range=f"bytes={wanted}")
                about = f"bytes {wanted} of {key}"
                equal(got["ResponseMetadata"]["HTTPStatusCode"], 206, about)
                equal(got["ContentRange"], f"bytes {first}-{last}/{length}", about)
                equal(got["ContentLength"], last - first + 1, about)
                if "Body" in got:
                    equal(got["Body"].read() == body[first : last + 1], True, about)
    past = [("small", "1000-"), ("small", "1000-2000"), ("small", "-0")]
    for key, wanted in (*past, ("empty", "0-0"), ("empty", "0-"), ("empty", "-1")):
        status = refused("InvalidRange", client.get_object, Bucket=door.bucket, Key=key, Range=f"bytes={wanted}")
        equal(status, 416, f"bytes {wanted} of {key}")
        refused("416", client.head_object, Bucket=door.bucket, Key=key, Range=f"bytes={wanted}")
    # S3 would send all of it, and leave it to the client to see that this is not what it wanted.
    for wanted in ("bytes=5-2", "bytes=0-1,4-5", "lines=0-1"):
        refused("InvalidArgument", client.get_object, Bucket=door.bucket, Key="small", Range=wanted)
    etag = f'"{md5(small)}"'
    equal(read(client, door.bucket, "small", Range="bytes=1-2", IfMatch=etag), small[1:3], "a range on condition")
    refused(
        "PreconditionFailed", client.get_object, Bucket=door.bucket, Key="small", Range="bytes=1-2", IfMatch='"other"'
    )
    refused("NotImplemented", client.get_object, Bucket=door.bucket, Key="large", PartNumber=1)


def replaced_while_read(door):
    """A reader gets the whole object that it has begun to read, and of many writers one prevails."""
    # More than what connections hold back.
    client, part, bodies = door.client(), 12 * MIB, [pattern(24 * MIB, 1), pattern(24 * MIB, 2)]
    client.put_object(Bucket=door.bucket, Key="0", Body=bodies[0])
    upload, parts = begun(client, door, "1"), []
    for number in (1, 2):
        body = bodies[1][(number - 1) * part : number * part]
        parts.append((number, client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]))
    client.complete_multipart_upload(**upload, MultipartUpload=whole(*parts))
    for change in ("replaced", "deleted"):
        begun_reads = [client.get_object(Bucket=door.bucket, Key=key)["Body"] for key in "01"]
        starts = [body.read(1_000) for body in begun_reads]
        for key in "01":
            if change == "deleted":
                client.delete_object(Bucket=door.bucket, Key=key)
            else:
                client.copy_object(Bucket=door.bucket, Key=f"kept{key}", CopySource={"Bucket": door.bucket, "Key": key})
                client.put_object(Bucket=door.bucket, Key=key, Body=b"new")
        for body, start, rest in zip(bodies, starts, begun_reads, strict=True):
            equal(start + rest.read() == body, True, f"an object that was {change} while it was read")
        if change == "replaced":
            for key in "01":
                equal(read(client, door.bucket, key), b"new", "an object after it was replaced")
                client.copy_object(Bucket=door.bucket, Key=key, CopySource={"Bucket": door.bucket, "Key": f"kept{key}"})
    written = {md5(body): body for body in (pattern(100_000 + number, number) for number in range(16))}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda body: client.put_object(Bucket=door.bucket, Key="key", Body=body), written.values()))
    got = client.get_object(Bucket=door.bucket, Key="key")
    equal(got["Body"].read() == written[got["ETag"].strip('"')], True, "what one of many writers has left")
