"""What the server does not do, and what the bucket itself says."""

from datetime import datetime, timezone

from door import MIB, OTHER_BUCKET, Reply, clock_off_by, equal, fetch, is_there, keys_of, pattern, refused


def refused_bodies(door):
    """Who sends a body in vain is told why, and can go on."""
    client = door.client()
    with clock_off_by(minutes=-5):
        url = client.generate_presigned_url("put_object", {"Bucket": door.bucket, "Key": "late"}, ExpiresIn=60)
    for length in (1, 100_000, *[4 * MIB] * 5):
        reply = fetch(url, "PUT", pattern(length))
        equal((reply.status, reply.code), (403, "AccessDenied"), f"{length} bytes sent in vain")
    # Who asks first sends nothing. The next request would be taken for the body, or come to a closed connection.
    connection = door.connection()
    head = {"Content-Length": str(MIB), "Expect": "100-continue"}
    connection.request("PUT", url.removeprefix(door.endpoint), headers=head)
    answer = connection.getresponse()
    equal((answer.status, answer.headers["Connection"]), (403, "close"), "an answer instead of 100 Continue")
    connection.close()
    with_tags = {"Bucket": door.bucket, "Key": "tags", "Tagging": "a=b"}
    for _ in range(100):
        refused("NotImplemented", client.put_object, **with_tags, Body=b"x")
        refused("404", client.head_object, Bucket=door.bucket, Key="tags")
    equal(keys_of(client, door.bucket), [], "what was written")


def refusals(door):
    """What is not there is refused in S3's words, and does nothing."""
    client, bucket = door.client(), {"Bucket": door.bucket}
    one = {**bucket, "Key": "key"}
    client.put_object(**one, Body=b"body")
    refused("BucketAlreadyOwnedByYou", client.create_bucket, **bucket)
    refused("AccessDenied", client.create_bucket, Bucket=OTHER_BUCKET)
    refused("AccessDenied", client.delete_bucket, **bucket)
    refused("AccessDenied", client.delete_bucket, Bucket=OTHER_BUCKET)
    for call, kwargs in (
        (client.put_bucket_policy, {**bucket, "Policy": "{}"}),
        (client.get_bucket_policy, bucket),
        (client.delete_bucket_policy, bucket),
        (client.get_bucket_versioning, bucket),
        (client.put_bucket_versioning, {**bucket, "VersioningConfiguration": {"Status": "Enabled"}}),
        (client.list_object_versions, bucket),
        (client.get_bucket_acl, bucket),
        (client.put_bucket_acl, {**bucket, "ACL": "public-read"}),
        (client.get_bucket_cors, bucket),
        (client.get_bucket_encryption, bucket),
        (client.get_bucket_lifecycle_configuration, bucket),
        (client.get_bucket_tagging, bucket),
        (client.get_bucket_notification_configuration, bucket),
        (client.get_object_lock_configuration, bucket),
        (client.put_public_access_block, {**bucket, "PublicAccessBlockConfiguration": {"BlockPublicAcls": True}}),
        (client.put_object_tagging, {**one, "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}),
        (client.delete_object_tagging, one),
        (client.get_object_acl, one),
        (client.put_object_acl, {**one, "ACL": "public-read"}),
        (client.get_object_attributes, {**one, "ObjectAttributes": ["ETag", "ObjectSize"]}),
        (client.get_object_retention, one),
        (client.get_object_torrent, one),
        (client.restore_object, {**one, "RestoreRequest": {"Days": 1}}),
    ):
        refused("NotImplemented", call, **kwargs)
    # Tools that copy objects ask for it.
    equal(client.get_object_tagging(**one)["TagSet"], [], "the tags of an object")
    # What would be taken for granted by those who ask for it.
    customers = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    for asked in (
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"},
        customers,
        {"ACL": "public-read"},
        {"ACL": "authenticated-read"},
        {"GrantRead": "id=somebody"},
        {"GrantFullControl": "id=somebody"},
        {"GrantReadACP": "id=somebody"},
        {"GrantWriteACP": "id=somebody"},
        {"Tagging": "a=b"},
        {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": datetime(2030, 1, 1)},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"WebsiteRedirectLocation": "/elsewhere"},
    ):
        refused("NotImplemented", client.put_object, **bucket, Key="not", Body=b"x", **asked)
        refused("NotImplemented", client.copy_object, **bucket, Key="not", CopySource=one, **asked)
        refused("NotImplemented", client.create_multipart_upload, **bucket, Key="not", **asked)
    for harmless in ({"ACL": "private"}, {"ACL": "bucket-owner-full-control"}, {"StorageClass": "STANDARD"}):
        client.put_object(**one, Body=b"body", **harmless)
    equal(keys_of(client, door.bucket), ["key"], "what is there")


def buckets(door):
    """The bucket itself: found, placed and listed, and the form of browsers refused."""
    client = door.client()
    equal(client.head_bucket(Bucket=door.bucket)["ResponseMetadata"]["HTTPStatusCode"], 200, "the bucket")
    equal(client.get_bucket_location(Bucket=door.bucket)["LocationConstraint"], None, "where it is")
    found = client.list_buckets()
    equal([one["Name"] for one in found["Buckets"]], [door.bucket], "the buckets of a key")
    equal(found["Buckets"][0]["CreationDate"] <= datetime.now(timezone.utc), True, "when it was made")
    equal(bool(found["Owner"]["ID"]), True, "whose it is")
    post = client.generate_presigned_post(door.bucket, "form")
    line = "--bound\r\nContent-Disposition: form-data; name="
    fields = "".join(f'{line}"{name}"\r\n\r\n{value}\r\n' for name, value in post["fields"].items())
    form = f'{fields}{line}"file"; filename="a"\r\n\r\nbody\r\n--bound--\r\n'.encode()
    reply = fetch(post["url"], "POST", form, {"Content-Type": "multipart/form-data; boundary=bound"})
    equal((reply.status, reply.code), (501, "NotImplemented"), "a form")
    equal(is_there(client, door.bucket, "form"), False, "what a form has made")
    waiter = client.get_waiter("object_exists")
    client.put_object(Bucket=door.bucket, Key="key", Body=b"x")
    waiter.wait(Bucket=door.bucket, Key="key", WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    # Nothing of S3 is beside the bucket.
    for path in ("/", "/..", f"/{door.bucket}/key", f"/{door.bucket}"):
        connection = door.connection()
        connection.request("GET", path)
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.read())
        equal(reply.status in (400, 403), True, f"{path} without a key: {reply}")
        connection.close()
