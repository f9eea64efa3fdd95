"""What a key may be."""

from door import Reply, equal, fetch, is_there, keys_of, md5, read, refused, send

ODD_KEYS = [
    "..", ".", "../../etc/passwd", "a/../b", "a/./b", "b", "/", "//", "/leading", "//twice", "a//b", "folder/", " ",
    " around ", "a b", "a+b", "a%20b", "a%2Bb", "100%", "%", "%2F", "%00", "a?b=c&d", "?", "#", "a#b", "&", "&amp;",
    "<&>'\"", "]]>", ";", "a\\..\\b", "C:\\x", "~!*'();:@&=+$,[]{}|^`", "line\nbreak", "\n", "tab\tbed",
    "carriage\rreturn", "both\r\n", "\u00e4", "a\u0308", "\u65e5\u672c/\u8a9e", "\U0001f642", "\uff5e", "\u2028",
    "\u00a0", "\ufeff", "\u202eabc", "x" * 1024, "\u00e4" * 512, "\U0001f642" * 256, "d/" * 512, "photos", "null",
    "?uploads", "a?versionId=1",
]  # fmt: skip


def keys(door):
    """Keys are any text: stored, listed, copied and deleted as they are, and none is a path."""
    client = door.client()
    for key in ODD_KEYS:
        client.put_object(Bucket=door.bucket, Key=key, Body=key.encode() + b"!", Metadata={"digest": md5(key.encode())})
    for key in ODD_KEYS:
        equal(read(client, door.bucket, key), key.encode() + b"!", f"the object {key!r}")
        equal(client.head_object(Bucket=door.bucket, Key=key)["Metadata"]["digest"], md5(key.encode()), repr(key))
    ordered = sorted(ODD_KEYS, key=str.encode)
    equal(keys_of(client, door.bucket), ordered, "what is listed")
    pages = client.get_paginator("list_objects").paginate(Bucket=door.bucket, PaginationConfig={"PageSize": 5})
    equal([found["Key"] for page in pages for found in page["Contents"]], ordered, "what is listed in pages")
    for key in ODD_KEYS:
        listed = client.list_objects_v2(Bucket=door.bucket, Prefix=key, MaxKeys=1)
        equal((listed["Prefix"], listed["Contents"][0]["Key"]), (key, key), "what begins with a key")
    for key in ODD_KEYS:
        client.copy_object(Bucket=door.bucket, Key="copy", CopySource={"Bucket": door.bucket, "Key": key})
        equal(read(client, door.bucket, "copy"), key.encode() + b"!", f"the copy of {key!r}")
        url = client.generate_presigned_url("get_object", {"Bucket": door.bucket, "Key": key})
        equal(fetch(url), Reply(200, key.encode() + b"!"), f"the URL of {key!r}")
    client.delete_object(Bucket=door.bucket, Key="copy")
    client.delete_object(Bucket=door.bucket, Key="a/../b")
    equal(is_there(client, door.bucket, "b"), True, "b is no other way to say a/../b")
    client.put_object(Bucket=door.bucket, Key="a/../b", Body=b"")
    objects = [{"Key": key} for key in ODD_KEYS]
    answer = client.delete_objects(Bucket=door.bucket, Delete={"Objects": objects})
    equal(answer.get("Errors", []), [], "errors of deleting")
    equal(sorted(keys_of(client, door.bucket)), [], "what is left")
    equal(
        {found["Key"] for found in answer["Deleted"]} ^ set(ODD_KEYS), set(), "what is said to be deleted, or should be"
    )


def keys_refused(door):
    """What is no key, and how keys are said where nothing encodes them."""
    client = door.client()
    for key in ("x" * 1025, "\u00e4" * 512 + "x"):
        refused("KeyTooLongError", client.put_object, Bucket=door.bucket, Key=key, Body=b"x")
        refused("KeyTooLongError", client.get_object, Bucket=door.bucket, Key=key)
    # XML has no way to say these, so no list could.
    for key in ("a\0b", "\x01", "\x0b", "\x1f", "\ufffe", "\uffff"):
        refused("InvalidArgument", client.put_object, Bucket=door.bucket, Key=key, Body=b"x")
        refused("InvalidArgument", client.create_multipart_upload, Bucket=door.bucket, Key=key)
    request, _ = door.signed("PUT", "", url=f"{door.endpoint}/{door.bucket}/%FF", body=b"x")
    reply = send(door, request, b"x")
    equal((reply.status, reply.code), (400, "InvalidURI"), "a key that is not UTF-8")
    equal(keys_of(client, door.bucket), [], "what was written")
    # In answers without encoding, too, a key is the same text for whoever reads the XML.
    for key in ("<&>'\"", "carriage\rreturn", " around ", "line\n"):
        upload = client.create_multipart_upload(Bucket=door.bucket, Key=key)
        equal(upload["Key"], key, "the key of a new upload")
        one = {"Bucket": door.bucket, "Key": key, "UploadId": upload["UploadId"]}
        equal(client.list_parts(**one)["Key"], key, "the key of a list of parts")
        uploads = client.list_multipart_uploads(Bucket=door.bucket)["Uploads"]
        equal([found["Key"] for found in uploads], [key], "the key of a list of uploads")
        part = client.upload_part(**one, PartNumber=1, Body=b"x")
        whole = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        equal(
            client.complete_multipart_upload(**one, MultipartUpload=whole)["Key"], key, "the key of a completed upload"
        )
    listed = client.list_objects_v2(Bucket=door.bucket, EncodingType="url", Prefix=" ")["Contents"]
    equal([found["Key"] for found in listed], ["%20around%20"], "a key that the client decodes itself")
