"""What clients of S3 expect of a bucket, seen with boto3, AWS's own client.

    python scenarios.py ENDPOINT BUCKET ACCESS_KEY SECRET

Prints a line for each scenario that holds, and says on standard error what does not. All that is in the bucket is
deleted.
"""

import sys
import traceback
import urllib.parse

# Modules of this folder would else leave what they are compiled to in the repository.
sys.dont_write_bytecode = True

from bodies import checksums, chunks, truncated  # noqa: E402
from door import Door, equal, keys_of  # noqa: E402
from listing import listing, listing_v1  # noqa: E402
from naming import keys, keys_refused  # noqa: E402
from reading import conditional_reads, ranges, replaced_while_read  # noqa: E402
from refusing import buckets, refusals, refused_bodies  # noqa: E402
from signing import presigned, signatures  # noqa: E402
from uploads import multipart, multipart_listed, multipart_refused  # noqa: E402
from writing import conditional_writes, copies, deletions, described_otherwise, round_trip, transfers  # noqa: E402


def emptied(client, bucket):
    """Deletes what a scenario has left."""
    keys = keys_of(client, bucket)
    for start in range(0, len(keys), 1_000):
        some = [{"Key": key} for key in keys[start : start + 1_000]]
        answer = client.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
        equal(answer.get("Errors", []), [], "errors of deleting")
    equal(keys_of(client, bucket), [], "what is left of an emptied bucket")
    for upload in client.list_multipart_uploads(Bucket=bucket, EncodingType="url").get("Uploads", []):
        key = urllib.parse.unquote(upload["Key"])
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])


SCENARIOS = [
    round_trip,
    described_otherwise,
    transfers,
    keys,
    keys_refused,
    listing,
    listing_v1,
    multipart,
    multipart_refused,
    multipart_listed,
    conditional_writes,
    conditional_reads,
    ranges,
    copies,
    deletions,
    checksums,
    chunks,
    signatures,
    presigned,
    refused_bodies,
    replaced_while_read,
    truncated,
    refusals,
    buckets,
]


def main(arguments):
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    door, failed = Door(*arguments), []
    client = door.client()
    for scenario in SCENARIOS:
        try:
            emptied(client, door.bucket)
            scenario(door)
            print(f"{scenario.__name__}: ok", flush=True)
        except Exception:  # noqa: BLE001
            failed.append(scenario.__name__)
            print(f"{scenario.__name__}: failed\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    if failed:
        print(f"{len(failed)} of {len(SCENARIOS)} scenarios do not hold: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
