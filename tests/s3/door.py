"""Where the bucket is, how a scenario comes in, and how it says what it expects."""

import base64
import hashlib
import http.client
import random
import socket
import struct
import urllib.error
import urllib.parse
import urllib.request
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from unittest import mock
from xml.etree import ElementTree

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

MIB = 1 << 20
# All parts of an upload but the last have at least so many bytes.
PART_BYTES = 5 * MIB
# Well formed, and the name of no bucket.
OTHER_BUCKET = "somebody-elses-bucket"
# How long a client waits for the server before a scenario has failed.
WAIT_SECONDS = 60


@dataclass(frozen=True)
class Door:
    """Where the bucket is, and the key to it."""

    endpoint: str
    bucket: str
    access_key: str
    secret: str

    def client(self, access_key=None, secret=None, region="us-east-1", **config):
        """A client of boto3. It never tries again: that would hide an error."""
        settings = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "retries": {"total_max_attempts": 1},
            "connect_timeout": WAIT_SECONDS,
            "read_timeout": WAIT_SECONDS,
            "max_pool_connections": 16,
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret or self.secret,
            config=Config(**{**settings, **config}),
        )

    def connection(self):
        """A bare connection to the server."""
        return http.client.HTTPConnection(urllib.parse.urlsplit(self.endpoint).netloc, timeout=WAIT_SECONDS)

    def signed(self, method, key, body=b"", headers=None, payload=None, url=None):
        """A request signed by hand, which need not say the truth of its body; and what its chunks are signed with."""
        auth = S3SigV4Auth(Credentials(self.access_key, self.secret), "s3", "us-east-1")
        if payload is not None:
            auth.payload = lambda _: payload
        url = url or f"{self.endpoint}/{self.bucket}/{urllib.parse.quote(key)}"
        request = AWSRequest(method=method, url=url, data=body, headers=headers or {})
        auth.add_auth(request)
        return request, auth


@dataclass(frozen=True)
class Reply:
    """What the server has answered to a request that boto3 did not make."""

    status: int
    body: bytes

    @property
    def code(self):
        """The code of an error in XML."""
        return ElementTree.fromstring(self.body).findtext("Code") if self.body and self.status >= 300 else None


# The connection was closed instead.
NO_REPLY = Reply(0, b"")


def equal(found, expected, about=""):
    assert found == expected, f"{about}: expected {shortened(expected)}, found {shortened(found)}"


def shortened(value):
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... of {len(text)} characters"


def refused(code, call, /, **kwargs):
    """The call fails with this code, and is not the server's own fault."""
    try:
        answer = call(**kwargs)
    except ClientError as error:
        found, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        equal(found, code, f"{error.operation_name}({shortened(kwargs)})")
        equal(
            status == 501 if code == "NotImplemented" else 300 < status < 500, True, f"the status of {code}, {status}"
        )
        return status
    raise AssertionError(f"expected {code}, but there was an answer to {shortened(kwargs)}: {shortened(answer)}")


def md5(body):
    return hashlib.md5(body).hexdigest()


def b64(digest):
    return base64.b64encode(digest).decode()


def crc32(body):
    return b64(struct.pack(">I", zlib.crc32(body)))


def pattern(length, seed=0):
    """Bytes that differ wherever pieces could be lost, doubled or swapped."""
    return random.Random(seed).randbytes(length)


def read(client, bucket, key, **more):
    return client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def is_there(client, bucket, key):
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        equal(error.response["Error"]["Code"], "404", f"what is said of {key!r}")
        return False
    return True


def keys_of(client, bucket, **more):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, **more)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


@contextmanager
def clock_off_by(**delta):
    """Signs as if it were earlier or later."""
    moved = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(**delta)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moved):
        yield


def fetch(url, method="GET", body=None, headers=None):
    """What a browser or curl would do with a URL."""
    # urllib would name a type of its own.
    headers = {"Content-Type": "", **(headers or {})} if body is not None else headers or {}
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return Reply(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read())


def send(door, request, body, end=None, host=None):
    """Sends a request as it is, with bytes that may be fewer than it says, and cuts the connection as `end` says."""
    connection = door.connection()
    parts = urllib.parse.urlsplit(request.url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host or parts.netloc)
    for name, value in request.headers.items():
        if name.lower() != "host":
            connection.putheader(name, value)
    connection.endheaders()
    try:
        connection.send(body)
        if end == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return NO_REPLY
        if end == "half":
            connection.sock.shutdown(socket.SHUT_WR)
        answer = connection.getresponse()
        return Reply(answer.status, answer.read())
    except (http.client.HTTPException, ConnectionError):
        return NO_REPLY
    finally:
        connection.close()
