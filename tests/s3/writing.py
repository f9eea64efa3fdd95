"""Objects made, replaced, copied and deleted."""

import io
import pathlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import boto3
from boto3.s3.transfer import TransferConfig

from door import (
    MIB,
    OTHER_BUCKET,
    PART_BYTES,
    WAIT_SECONDS,
    crc32,
    equal,
    is_there,
    keys_of,
    md5,
    pattern,
    read,
    refused,
)
from framing import with_trailers


def round_trip(door):
    """What was put comes back, however its checksum is sent."""
    described = {
        "ContentType": "text/x-odd; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de-AT",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "CacheControl": "max-age=60, private",
        "Metadata": {"author": "somebody", "odd-name_1": "x = y; z"},
    }
    clients = {
        "checksums in headers": door.client(),
        "checksums in trailers": with_trailers(door.client()),
        "no checksums": door.client(request_checksum_calculation="when_required"),
    }
    for length in (0, 1, 64 * 1024 + 1, 9 * MIB):
        for name, client in clients.items():
            about, key, body = f"{length} bytes with {name}", f"{name}/{length}", pattern(length)
            put = client.put_object(Bucket=door.bucket, Key=key, Body=body, **described)
            equal(put["ETag"], f'"{md5(body)}"', about)
            equal(put.get("ChecksumCRC32"), None if name == "no checksums" else crc32(body), about)
            got = client.get_object(Bucket=door.bucket, Key=key)
            equal(got["Body"].read() == body, True, about)
            head = client.head_object(Bucket=door.bucket, Key=key)
            for answer in (got, head):
                equal({field: answer.get(field) for field in described}, described, about)
                equal((answer["ContentLength"], answer["ETag"]), (length, put["ETag"]), about)
                equal(answer["AcceptRanges"], "bytes", about)
                age = datetime.now(timezone.utc) - answer["LastModified"]
                equal(abs(age.total_seconds()) < WAIT_SECONDS, True, f"{about}: modified {age} ago")


def described_otherwise(door):
    """What nobody described, what is described anew by a reader, and what is too long."""
    client = door.client()
    client.put_object(Bucket=door.bucket, Key="bare", Body=b"x")
    head = client.head_object(Bucket=door.bucket, Key="bare")
    # As S3 has it; scripts read this field without asking whether it is there.
    equal(head.get("ContentType"), "binary/octet-stream", "the type of what has none")
    equal([head.get(field) for field in ("ContentEncoding", "CacheControl", "Expires")], [None] * 3, "what has none")
    equal(head["Metadata"], {}, "metadata of what has none")
    expires = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    client.put_object(Bucket=door.bucket, Key="bare", Body=b"y", Expires=expires)
    equal(client.head_object(Bucket=door.bucket, Key="bare")["ExpiresString"], "Wed, 02 Jan 2030 03:04:05 GMT")
    got = client.get_object(
        Bucket=door.bucket,
        Key="bare",
        ResponseContentType="text/html",
        ResponseContentDisposition='attachment; filename="a.html"',
        ResponseCacheControl="no-store",
    )
    equal((got["ContentType"], got["CacheControl"]), ("text/html", "no-store"), "what a reader wants")
    equal(got["ContentDisposition"], 'attachment; filename="a.html"', "what a reader wants")
    # 2 KiB is what S3 takes, names and values together.
    fits, does_not = {"m": "x" * 2047}, {"m": "x" * 2048}
    client.put_object(Bucket=door.bucket, Key="fits", Body=b"x", Metadata=fits)
    equal(client.head_object(Bucket=door.bucket, Key="fits")["Metadata"], fits)
    refused("MetadataTooLarge", client.put_object, Bucket=door.bucket, Key="not", Body=b"x", Metadata=does_not)
    refused("MetadataTooLarge", client.create_multipart_upload, Bucket=door.bucket, Key="not", Metadata=does_not)
    refused("NoSuchKey", client.get_object, Bucket=door.bucket, Key="not")
    refused("404", client.head_object, Bucket=door.bucket, Key="not")
    equal(client.get_object(Bucket=door.bucket, Key="bare", VersionId="null")["Body"].read(), b"y")
    refused("NoSuchVersion", client.get_object, Bucket=door.bucket, Key="bare", VersionId="1")


def transfers(door):
    """The transfer manager, which is what boto3 and the command line of AWS move files with."""
    client = door.client()
    config = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=PART_BYTES, max_concurrency=4)
    with tempfile.TemporaryDirectory() as folder:
        for length, parts in ((0, None), (6 * MIB - 1, None), (6 * MIB, 2), (11 * MIB + 1, 3)):
            source, target = pathlib.Path(folder, "source"), pathlib.Path(folder, "target")
            body = pattern(length, seed=length)
            source.write_bytes(body)
            key, extra = f"file/{length}", {"ContentType": "image/png", "Metadata": {"length": str(length)}}
            client.upload_file(str(source), door.bucket, key, Config=config, ExtraArgs=extra)
            head = client.head_object(Bucket=door.bucket, Key=key)
            equal((head["ContentLength"], head["ContentType"]), (length, "image/png"), key)
            equal(head["Metadata"], extra["Metadata"], key)
            number = head["ETag"].strip('"').partition("-")[2]
            equal(number, str(parts) if parts else "", f"parts of {key}")
            client.download_file(door.bucket, key, str(target), Config=config)
            equal(target.read_bytes() == body, True, f"the file of {key}")
    body, chunked_client = pattern(12 * MIB, seed=1), with_trailers(door.client())
    chunked_client.upload_fileobj(io.BytesIO(body), door.bucket, "stream", Config=config)
    back = io.BytesIO()
    client.download_fileobj(door.bucket, "stream", back, Config=config)
    equal(back.getvalue() == body, True, "a stream in parts with trailers")
    client.copy({"Bucket": door.bucket, "Key": "stream"}, door.bucket, "copied", Config=config)
    equal(read(client, door.bucket, "copied") == body, True, "a copy in parts")
    resource = boto3.resource(
        "s3",
        endpoint_url=door.endpoint,
        region_name="us-east-1",
        config=client.meta.config,
        aws_access_key_id=door.access_key,
        aws_secret_access_key=door.secret,
    )
    found = {item.key: item.size for item in resource.Bucket(door.bucket).objects.all()}
    equal((len(found), found["copied"]), (6, 12 * MIB), "what a bucket of boto3's resources has")


def conditional_writes(door):
    """Writes and deletions that want something of what is there."""
    client, one = door.client(), {"Bucket": door.bucket, "Key": "key"}
    # With AWS it is NoSuchKey; HTTP knows only this.
    refused("PreconditionFailed", client.put_object, **one, Body=b"x", IfMatch=f'"{md5(b"x")}"')
    first = client.put_object(**one, Body=b"first", IfNoneMatch="*")["ETag"]
    equal(refused("PreconditionFailed", client.put_object, **one, Body=b"x", IfNoneMatch="*"), 412)
    equal(refused("PreconditionFailed", client.put_object, **one, Body=b"x", IfMatch='"other"'), 412)
    equal(read(client, door.bucket, "key"), b"first", "an object that a refused write left")
    second = client.put_object(**one, Body=b"second", IfMatch=first)["ETag"]
    refused("PreconditionFailed", client.put_object, **one, Body=b"x", IfMatch=first)
    refused("PreconditionFailed", client.delete_object, **one, IfMatch=first)
    equal(read(client, door.bucket, "key"), b"second", "an object that a refused deletion left")
    # To overwrite nothing is asked of copies as well.
    source = {"Bucket": door.bucket, "Key": "source"}
    client.put_object(**source, Body=b"source")
    refused("PreconditionFailed", client.copy_object, **one, CopySource=source, IfNoneMatch="*")
    refused("PreconditionFailed", client.copy_object, **one, CopySource=source, IfMatch='"other"')
    equal(read(client, door.bucket, "key"), b"second", "an object that a refused copy left")
    answer = client.delete_objects(
        Bucket=door.bucket, Delete={"Objects": [{"Key": "key", "ETag": first}, {"Key": "source", "ETag": first}]}
    )
    equal(answer.get("Deleted"), None, "what was deleted with the wrong etags")
    equal([found["Code"] for found in answer["Errors"]], ["PreconditionFailed"] * 2, "why it was not")
    # Conditions that only buckets of another kind know with AWS: better no answer than a wrong one.
    for unknown in ({"IfMatchSize": 99}, {"IfMatchLastModifiedTime": datetime(2000, 1, 1, tzinfo=timezone.utc)}):
        refused("NotImplemented", client.delete_object, **one, **unknown)
    answer = client.delete_objects(Bucket=door.bucket, Delete={"Objects": [{"Key": "key", "Size": 99}]})
    equal([found["Code"] for found in answer.get("Errors", [])], ["NotImplemented"], "a deletion by size")
    client.delete_object(**one, IfMatch=second)
    equal(is_there(client, door.bucket, "key"), False, "an object that was deleted on condition")
    # Of many who want to be the first, one is.
    with ThreadPoolExecutor(16) as pool:
        racing = [pool.submit(client.put_object, **one, Body=b"%d" % number, IfNoneMatch="*") for number in range(16)]
    won = [number for number, racer in enumerate(racing) if racer.exception() is None]
    equal(len(won), 1, "winners of a race")
    lost = [racer.exception().response["Error"]["Code"] for racer in racing if racer.exception() is not None]
    equal(set(lost) <= {"PreconditionFailed", "ConditionalRequestConflict"}, True, f"losers of a race: {set(lost)}")
    equal(read(client, door.bucket, "key"), b"%d" % won[0], "what the winner wrote")


def copies(door):
    """Objects made of others."""
    client, source = door.client(), {"Bucket": door.bucket, "Key": "from"}
    described = {"ContentType": "text/plain", "CacheControl": "no-cache", "Metadata": {"a": "1"}}
    etag = client.put_object(**source, Body=b"body", **described)["ETag"]
    other = {"ContentType": "text/css", "Metadata": {"b": "2"}}
    fields = ("ContentType", "CacheControl", "Metadata")

    def shown(key):
        head = client.head_object(Bucket=door.bucket, Key=key)
        return tuple(head.get(field) for field in fields)

    copied = client.copy_object(Bucket=door.bucket, Key="to", CopySource=source, **other)["CopyObjectResult"]
    equal(copied["ETag"], etag, "the etag of a copy")
    equal(copied["LastModified"].tzinfo is not None, True, "a copy has a time")
    equal(shown("to"), ("text/plain", "no-cache", {"a": "1"}), "the description of a copy")
    anew = {**other, "MetadataDirective": "REPLACE"}
    client.copy_object(Bucket=door.bucket, Key="replaced", CopySource=source, **anew)
    equal(shown("replaced"), ("text/css", None, {"b": "2"}), "a copy that is described anew")
    client.copy_object(**source, CopySource=source, **anew)
    equal(shown("from"), ("text/css", None, {"b": "2"}), "an object that is described anew")
    equal(read(client, door.bucket, "from"), b"body", "an object that is described anew")
    # As a string, which boto3 encodes, with a slash in front or without one.
    for key in ("a+b ?&#%.txt", "\u00e4/\U0001f642"):
        client.put_object(Bucket=door.bucket, Key=key, Body=key.encode())
        for slash in ("", "/"):
            said = f"{slash}{door.bucket}/{key}"
            client.copy_object(Bucket=door.bucket, Key="odd", CopySource=said)
            equal(read(client, door.bucket, "odd"), key.encode(), f"the copy of {said}")
    client.delete_object(**source)
    for key in ("to", "replaced"):
        equal(read(client, door.bucket, key), b"body", "a copy whose source is gone")
    refused("NoSuchKey", client.copy_object, Bucket=door.bucket, Key="none", CopySource=source)
    for bucket in (OTHER_BUCKET, "another-one"):
        elsewhere = {"Bucket": bucket, "Key": "to"}
        refused("AccessDenied", client.copy_object, Bucket=door.bucket, Key="none", CopySource=elsewhere)
    there = {"Bucket": door.bucket, "Key": "to"}
    for unmet in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}):
        refused("PreconditionFailed", client.copy_object, Bucket=door.bucket, Key="none", CopySource=there, **unmet)
    old = {**there, "VersionId": "1"}
    refused("NoSuchVersion", client.copy_object, Bucket=door.bucket, Key="none", CopySource=old)
    refused("KeyTooLongError", client.copy_object, Bucket=door.bucket, Key="x" * 1025, CopySource=there)
    equal(is_there(client, door.bucket, "none"), False, "what no copy has made")
    met = {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": datetime(2000, 1, 1, tzinfo=timezone.utc)}
    client.copy_object(Bucket=door.bucket, Key="some", CopySource=there, **met)
    equal(read(client, door.bucket, "some"), b"body", "a copy on condition")


def deletions(door):
    """Objects deleted one by one and many at once."""
    client = door.client()
    for key in ("a", "b", "c", "d"):
        client.put_object(Bucket=door.bucket, Key=key, Body=b"x")
    for key in ("a", "a", "missing"):
        answer = client.delete_object(Bucket=door.bucket, Key=key)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 204, f"deleting {key}, there or not")
    equal(keys_of(client, door.bucket), ["b", "c", "d"], "what is left")
    refused("NoSuchKey", client.get_object, Bucket=door.bucket, Key="a")
    names = ["b", *(f"missing/{number}" for number in range(999))]
    objects = [{"Key": name} for name in names]
    answer = client.delete_objects(Bucket=door.bucket, Delete={"Objects": objects})
    equal([found["Key"] for found in answer["Deleted"]], names, "what is not there is deleted as well")
    quiet = [{"Key": "c"}, {"Key": "c"}, {"Key": "missing"}]
    answer = client.delete_objects(Bucket=door.bucket, Delete={"Objects": quiet, "Quiet": True})
    equal((answer.get("Deleted"), answer.get("Errors")), (None, None), "a quiet answer")
    equal(keys_of(client, door.bucket), ["d"], "what is left")
    bad = [{"Key": "x" * 1025}, {"Key": "d", "VersionId": "1"}, {"Key": "fine"}]
    answer = client.delete_objects(Bucket=door.bucket, Delete={"Objects": bad})
    errors = [(found["Key"], found["Code"]) for found in answer["Errors"]]
    equal(errors, [("x" * 1025, "KeyTooLongError"), ("d", "NoSuchVersion")], "what could not be deleted")
    equal([found["Key"] for found in answer["Deleted"]], ["fine"], "what could")
    many = [{"Key": str(number)} for number in range(1_001)]
    refused("MalformedXML", client.delete_objects, Bucket=door.bucket, Delete={"Objects": many})
    refused("MalformedXML", client.delete_objects, Bucket=door.bucket, Delete={"Objects": []})
    refused("NoSuchVersion", client.delete_object, Bucket=door.bucket, Key="d", VersionId="1")
    refused("KeyTooLongError", client.delete_object, Bucket=door.bucket, Key="x" * 1025)
    equal(keys_of(client, door.bucket), ["d"], "what is left")
    client.delete_object(Bucket=door.bucket, Key="d", VersionId="null")
    equal(keys_of(client, door.bucket), [], "what is left")
