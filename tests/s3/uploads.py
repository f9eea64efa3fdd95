"""Objects that come in parts."""

import hashlib

from door import OTHER_BUCKET, PART_BYTES, b64, crc32, equal, is_there, md5, pattern, read, refused


def whole(*parts):
    """What completes an upload: numbers and etags."""
    return {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}


def begun(client, door, key, **more):
    upload = client.create_multipart_upload(Bucket=door.bucket, Key=key, **more)
    equal((upload["Bucket"], upload["Key"]), (door.bucket, key), "a new upload")
    return {"Bucket": door.bucket, "Key": key, "UploadId": upload["UploadId"]}


def multipart(door):
    """Objects in parts, which may come in any order and more than once."""
    client, bodies = door.client(), [pattern(PART_BYTES, 1), pattern(PART_BYTES + 1, 2), pattern(7, 3)]
    upload = begun(client, door, "whole", ContentType="text/plain", Metadata={"a": "b"}, ContentEncoding="br")
    etags = {}
    client.upload_part(**upload, PartNumber=40, Body=b"replaced")
    for number, body in ((40, bodies[2]), (3, bodies[1]), (1, bodies[0])):
        part = client.upload_part(**upload, PartNumber=number, Body=body)
        etags[number] = part["ETag"]
        equal((part["ETag"], part["ChecksumCRC32"]), (f'"{md5(body)}"', crc32(body)), f"part {number}")
    client.upload_part(**upload, PartNumber=50, Body=b"left out in the end")
    equal(is_there(client, door.bucket, "whole"), False, "an object before its upload is completed")
    parts = [(number, etags[number]) for number in sorted(etags)]
    done = client.complete_multipart_upload(**upload, MultipartUpload=whole(*parts))
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    equal(done["ETag"], f'"{md5(digests)}-3"', "the etag of an object in parts")
    equal((done["Bucket"], done["Key"]), (door.bucket, "whole"), "a completed upload")
    got = client.get_object(Bucket=door.bucket, Key="whole")
    equal(got["Body"].read() == b"".join(bodies), True, "the bytes of all parts")
    equal((got["ETag"], got["ContentLength"]), (done["ETag"], sum(map(len, bodies))), "an object in parts")
    equal(
        (got["ContentType"], got["ContentEncoding"], got["Metadata"]),
        ("text/plain", "br", {"a": "b"}),
        "its description",
    )
    refused("NoSuchUpload", client.upload_part, **upload, PartNumber=1, Body=b"x")
    # A part that is copied from an object.
    upload, source = begun(client, door, "copied"), {"Bucket": door.bucket, "Key": "whole"}
    copy = {**upload, "CopySource": source}
    some = f"bytes=3-{PART_BYTES + 2}"
    first = client.upload_part_copy(**copy, PartNumber=1, CopySourceRange=some)["CopyPartResult"]
    expected = b"".join(bodies)
    equal(first["ETag"], f'"{md5(expected[3 : PART_BYTES + 3])}"', "a part that is a range of an object")
    second = client.upload_part_copy(**copy, PartNumber=2)["CopyPartResult"]
    equal(second["ETag"], f'"{md5(expected)}"', "a part that is an object")
    for unmet in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": done["ETag"]}):
        refused("PreconditionFailed", client.upload_part_copy, **copy, PartNumber=3, **unmet)
    missing = {**upload, "CopySource": {"Bucket": door.bucket, "Key": "missing"}}
    refused("NoSuchKey", client.upload_part_copy, **missing, PartNumber=3)
    other = {**upload, "CopySource": {"Bucket": OTHER_BUCKET, "Key": "whole"}}
    refused("AccessDenied", client.upload_part_copy, **other, PartNumber=3)
    past = f"bytes=0-{len(expected)}"
    refused("InvalidRange", client.upload_part_copy, **copy, PartNumber=3, CopySourceRange=past)
    refused("InvalidArgument", client.upload_part_copy, **copy, PartNumber=3, CopySourceRange="0-2")
    client.complete_multipart_upload(**upload, MultipartUpload=whole((1, first["ETag"]), (2, second["ETag"])))
    equal(
        read(client, door.bucket, "copied") == expected[3 : PART_BYTES + 3] + expected,
        True,
        "an object of copied parts",
    )


def multipart_refused(door):
    """Uploads that cannot be completed, and what is left of them."""
    client = door.client()
    client.put_object(Bucket=door.bucket, Key="key", Body=b"before")
    upload = begun(client, door, "key")
    first = client.upload_part(**upload, PartNumber=1, Body=pattern(PART_BYTES - 1))["ETag"]
    second = client.upload_part(**upload, PartNumber=2, Body=b"second")["ETag"]
    wrong = f'"{md5(b"wrong")}"'
    for code, parts in (
        ("InvalidPart", [(1, wrong)]),
        ("InvalidPart", [(2, first)]),
        ("InvalidPart", [(1, first), (3, second)]),
        ("InvalidPartOrder", [(2, second), (1, first)]),
        ("InvalidPartOrder", [(1, first), (1, first)]),
        ("EntityTooSmall", [(1, first), (2, second)]),
        ("MalformedXML", []),
    ):
        refused(code, client.complete_multipart_upload, **upload, MultipartUpload=whole(*parts))
    # A reader who knows how long the object is says so.
    size = {"MpuObjectSize": PART_BYTES}
    refused("InvalidRequest", client.complete_multipart_upload, **upload, MultipartUpload=whole((1, first)), **size)
    for number in (0, 10_001, -1):
        refused("InvalidArgument", client.upload_part, **upload, PartNumber=number, Body=b"x")
    refused("BadDigest", client.upload_part, **upload, PartNumber=2, Body=b"x", ChecksumSHA256=b64(bytes(32)))
    refused("BadDigest", client.upload_part, **upload, PartNumber=2, Body=b"x", ContentMD5=b64(bytes(16)))
    equal(client.list_parts(**upload)["Parts"][1]["ETag"], second, "a part that was not replaced")
    for unmet in ({"IfNoneMatch": "*"}, {"IfMatch": wrong}):
        refused(
            "PreconditionFailed", client.complete_multipart_upload, **upload, MultipartUpload=whole((1, first)), **unmet
        )
    equal(read(client, door.bucket, "key"), b"before", "the object that was there")
    for other in ({**upload, "Key": "other"}, {**upload, "UploadId": "none"}, {**upload, "UploadId": "0" * 32}):
        refused("NoSuchUpload", client.upload_part, **other, PartNumber=1, Body=b"x")
        refused("NoSuchUpload", client.list_parts, **other)
        refused("NoSuchUpload", client.abort_multipart_upload, **other)
        refused("NoSuchUpload", client.complete_multipart_upload, **other, MultipartUpload=whole((1, first)))
    equal(client.abort_multipart_upload(**upload)["ResponseMetadata"]["HTTPStatusCode"], 204, "giving up")
    refused("NoSuchUpload", client.upload_part, **upload, PartNumber=3, Body=b"x")
    refused("NoSuchUpload", client.complete_multipart_upload, **upload, MultipartUpload=whole((1, first)))
    refused("NoSuchUpload", client.abort_multipart_upload, **upload)
    refused("NoSuchUpload", client.list_parts, **upload)
    equal(client.list_multipart_uploads(Bucket=door.bucket).get("Uploads"), None, "uploads that have not ended")
    equal(read(client, door.bucket, "key"), b"before", "the object that was there")
    upload = begun(client, door, "key")
    part = client.upload_part(**upload, PartNumber=9, Body=b"after")
    met = {"IfMatch": f'"{md5(b"before")}"'}
    client.complete_multipart_upload(**upload, MultipartUpload=whole((9, part["ETag"])), **met)
    equal(read(client, door.bucket, "key"), b"after", "the object that an upload has replaced")


def parts_of(page):
    return [(part["PartNumber"], part["Size"], part["ETag"]) for part in page.get("Parts", [])]


def uploads_of(page):
    return [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]


def multipart_listed(door):
    """Lists of parts and of uploads, in pages."""
    client = door.client()
    upload = begun(client, door, "b")
    bodies = {number: f"part {number}".encode() for number in (1, 2, 7, 300, 10_000)}
    for number, body in bodies.items():
        client.upload_part(**upload, PartNumber=number, Body=body)
    expected = [(number, len(body), f'"{md5(body)}"') for number, body in bodies.items()]
    equal(parts_of(client.list_parts(**upload)), expected, "all parts")
    pages = list(client.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2}))
    equal([parts_of(page) for page in pages], [expected[:2], expected[2:4], expected[4:]], "pages of parts")
    equal([page["IsTruncated"] for page in pages], [True, True, False], "pages of parts")
    equal(parts_of(client.list_parts(**upload, PartNumberMarker=7)), expected[3:], "parts behind a number")
    begun_later = [begun(client, door, key) for key in ("a/1", "a/2", "b", "c")]
    expected = sorted((one["Key"], one["UploadId"]) for one in [upload, *begun_later])
    equal(sorted(uploads_of(client.list_multipart_uploads(Bucket=door.bucket))), expected, "all uploads")
    pages = client.get_paginator("list_multipart_uploads")
    for size in (1, 2, 5):
        found = list(pages.paginate(Bucket=door.bucket, PaginationConfig={"PageSize": size}))
        equal(sum(map(uploads_of, found), []), expected, f"uploads, {size} at a time, by key and time")
        equal(all(len(page["Uploads"]) <= size for page in found), True, f"uploads, {size} at a time")
    equal(
        uploads_of(client.list_multipart_uploads(Bucket=door.bucket, Prefix="a/")),
        expected[:2],
        "uploads below a folder",
    )
    equal(
        uploads_of(client.list_multipart_uploads(Bucket=door.bucket, KeyMarker="a/2")),
        expected[2:],
        "uploads behind a key",
    )
    for one in [upload, *begun_later]:
        client.abort_multipart_upload(**one)
    equal(uploads_of(client.list_multipart_uploads(Bucket=door.bucket)), [], "uploads that have not ended")
