"""Who comes in, and who does not."""

import urllib.parse

from botocore import UNSIGNED

from door import MIB, OTHER_BUCKET, Reply, clock_off_by, equal, fetch, is_there, pattern, read, refused, send


def signatures(door):
    """Only who has the key comes in, only now, and only into its bucket."""
    client, one = door.client(), {"Bucket": door.bucket, "Key": "key"}
    client.put_object(**one, Body=b"body")
    strangers = [
        ("SignatureDoesNotMatch", door.client(secret=door.secret[:-1] + ("A" if door.secret[-1] != "A" else "B"))),
        (
            "InvalidAccessKeyId",
            door.client(access_key=door.access_key[:-1] + ("0" if door.access_key[-1] != "0" else "1")),
        ),
        ("InvalidAccessKeyId", door.client(access_key="AKIAIOSFODNN7EXAMPLE")),
        ("AccessDenied", door.client(signature_version=UNSIGNED)),
        ("InvalidRequest", door.client(signature_version="s3")),
    ]
    for code, stranger in strangers:
        refused(code, stranger.get_object, **one)
        refused(code, stranger.put_object, **one, Body=b"stranger")
        refused(code, stranger.delete_object, **one)
        refused(code, stranger.list_objects_v2, Bucket=door.bucket)
        refused(code, stranger.list_buckets)
        refused("400" if code == "InvalidRequest" else "403", stranger.head_object, **one)
    for minutes in (-16, 16, 60 * 24 * 400):
        with clock_off_by(minutes=minutes):
            refused("RequestTimeTooSkewed", client.get_object, **one)
            refused("RequestTimeTooSkewed", client.put_object, **one, Body=b"skewed")
    for minutes in (-14, 14):
        with clock_off_by(minutes=minutes):
            equal(read(client, door.bucket, "key"), b"body", f"a clock that is off by {minutes} minutes")
    # With a large body, too, a client is told why before it has sent it.
    for bucket in (OTHER_BUCKET, "another-one"):
        refused("AccessDenied", client.put_object, Bucket=bucket, Key="key", Body=pattern(9 * MIB))
        refused("AccessDenied", client.get_object, Bucket=bucket, Key="key")
        refused("AccessDenied", client.list_objects_v2, Bucket=bucket)
        refused("AccessDenied", client.create_multipart_upload, Bucket=bucket, Key="key")
        refused("403", client.head_bucket, Bucket=bucket)
    # A body that is not the one that was signed.
    request, _ = door.signed("PUT", "key", body=b"signed", headers={"Content-Length": "6"})
    reply = send(door, request, b"forged")
    equal((reply.status, reply.code), (400, "XAmzContentSHA256Mismatch"), "another body than was signed")
    request, _ = door.signed("GET", "key")
    request.url = request.url.replace("/key", "/other")
    reply = send(door, request, b"")
    equal((reply.status, reply.code), (403, "SignatureDoesNotMatch"), "another key than was signed")
    equal(read(client, door.bucket, "key"), b"body", "what nobody has changed")
    for region in ("eu-central-1", "auto"):
        equal(read(door.client(region=region), door.bucket, "key"), b"body", f"regions do not matter, {region}")
    host = f"{door.bucket}.localhost:{urllib.parse.urlsplit(door.endpoint).port}"
    request, _ = door.signed("GET", "key", url=f"http://{host}/key")
    equal(send(door, request, b"", host=host), Reply(200, b"body"), "the bucket in the host's name")


def presigned(door):
    """URLs that work without a key, for what they were made for and as long as they were."""
    client, one = door.client(), {"Bucket": door.bucket, "Key": "a b+c/\u00e4.txt"}
    client.put_object(**one, Body=b"body")
    client.put_object(Bucket=door.bucket, Key="other", Body=b"secret")
    url = client.generate_presigned_url("get_object", one)
    equal(fetch(url), Reply(200, b"body"), "a URL for reading")
    equal(fetch(url, headers={"Range": "bytes=1-2"}), Reply(206, b"od"), "a range of it")
    for about, changed, method in (
        ("another key", url.replace("a%20b", "a%20c"), "GET"),
        ("another bucket", url.replace(f"/{door.bucket}/", f"/{OTHER_BUCKET}/"), "GET"),
        ("a later end", url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"), "GET"),
        ("more of a query", url + "&response-content-type=text/html", "GET"),
        ("another method", url, "DELETE"),
        ("another method", url, "PUT"),
    ):
        reply = fetch(changed, method, b"forged" if method == "PUT" else None)
        equal((reply.status, reply.code), (403, "SignatureDoesNotMatch"), about)
    for minutes, code in ((-2, "AccessDenied"), (16, "RequestTimeTooSkewed")):
        with clock_off_by(minutes=minutes):
            old = client.generate_presigned_url("get_object", one, ExpiresIn=60)
        reply = fetch(old)
        equal((reply.status, reply.code), (403, code), f"a URL of {minutes} minutes from now")
    page = client.generate_presigned_url("list_objects_v2", {"Bucket": door.bucket, "Prefix": "oth"})
    equal(b"<Key>other</Key>" in fetch(page).body, True, "a URL for a list")
    new = {"Bucket": door.bucket, "Key": "new"}
    put = client.generate_presigned_url("put_object", {**new, "ContentType": "text/css"})
    equal(
        fetch(put, "PUT", b"x", {"Content-Type": "text/html"}).code, "SignatureDoesNotMatch", "another type than signed"
    )
    equal(is_there(client, door.bucket, "new"), False, "what could not be written")
    equal(fetch(put, "PUT", b"new", {"Content-Type": "text/css"}).status, 200, "a URL for writing")
    got = client.get_object(**new)
    equal((got["Body"].read(), got["ContentType"]), (b"new", "text/css"), "what was written")
    # Who may write one object must not make it a copy of another one, and read that.
    plain = client.generate_presigned_url("put_object", new)
    for name, value in (("x-amz-copy-source", f"{door.bucket}/other"), ("x-amz-meta-a", "b")):
        reply = fetch(plain, "PUT", b"", {name: value})
        equal((reply.status, reply.code), (403, "AccessDenied"), f"{name}, which was not signed")
    equal(read(client, door.bucket, "new"), b"new", "what headers that are not signed have left")
    gone = client.generate_presigned_url("delete_object", new)
    equal((fetch(gone, "DELETE").status, is_there(client, door.bucket, "new")), (204, False), "a URL for deleting")
