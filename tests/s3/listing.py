"""Lists of objects, in both versions."""

from concurrent.futures import ThreadPoolExecutor

from door import equal, keys_of, md5, refused

FULL = [f"full/{number:04}" for number in range(1_010)]
MANY = [f"many/{number:02}/{name}" for number in range(30) for name in "xy"]
# In UTF-16 the last two would change places; "." comes before "/", "0" behind it.
LOOSE = ["Z", "a", "full", "full.txt", "full0", "many", "z", "\u00e4", "\uff5e", "\U0001f642"]


def filled(door):
    """A bucket with more keys than one page has; `keys` in the order of their bytes."""
    client, keys = door.client(), sorted([*FULL, *MANY, *LOOSE], key=str.encode)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=door.bucket, Key=key, Body=key.encode()), keys))
    return client, keys


def folded(keys, prefix, delimiter):
    """What a list with a delimiter has: keys, and folders that stand for what is in them."""
    rest = [key[len(prefix) :] for key in keys if key.startswith(prefix)]
    names = {prefix + (name.partition(delimiter)[0] + delimiter if delimiter in name else name) for name in rest}
    return sorted(names, key=str.encode)


def listing(door):
    """Pages of list_objects_v2, which together have every key once, in the order of bytes."""
    client, keys = filled(door)
    first = client.list_objects_v2(Bucket=door.bucket)
    equal([found["Key"] for found in first["Contents"]], keys[:1_000], "the first page")
    equal((first["KeyCount"], first["MaxKeys"], first["IsTruncated"]), (1_000, 1_000, True), "the first page")
    equal((first["Name"], first.get("CommonPrefixes")), (door.bucket, None), "the first page")
    equal(keys_of(client, door.bucket), keys, "all pages")
    sample = next(found for found in first["Contents"] if found["Key"] == "a")
    equal(
        (sample["Size"], sample["ETag"], sample["StorageClass"]),
        (1, f'"{md5(b"a")}"', "STANDARD"),
        "an object in a list",
    )
    equal(sample["LastModified"].tzinfo is not None, True, "an object in a list has a time")
    for prefix, delimiter, size in (
        ("", "/", 3),
        ("many/", "/", 7),
        ("full", "/", 2),
        ("many/0", "y", 4),
        ("", "ll/0", 5),
    ):
        about, seen = f"{prefix!r} by {delimiter!r}, {size} at a time", []
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=door.bucket, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": size}
        )
        for page in pages:
            names = [found["Key"] for found in page.get("Contents", [])]
            names += [found["Prefix"] for found in page.get("CommonPrefixes", [])]
            equal((page["KeyCount"], page["Delimiter"], len(names) <= size), (len(names), delimiter, True), about)
            seen += sorted(names, key=str.encode)
        equal(seen, folded(keys, prefix, delimiter), about)
    after = keys_of(client, door.bucket, StartAfter="full/0500")
    equal(after, keys[keys.index("full/0500") + 1 :], "what follows a key")
    equal(keys_of(client, door.bucket, StartAfter="full/0500x"), after, "what follows a text that is no key")
    equal(
        keys_of(client, door.bucket, StartAfter="a", Prefix="many/0"),
        MANY[:20],
        "what follows something before the prefix",
    )
    equal(keys_of(client, door.bucket, StartAfter="\U0010ffff"), [], "what follows the last key")
    nothing = client.list_objects_v2(Bucket=door.bucket, Prefix="nothing")
    equal((nothing["KeyCount"], nothing.get("Contents"), nothing["IsTruncated"]), (0, None, False), "a list of nothing")
    none = client.list_objects_v2(Bucket=door.bucket, MaxKeys=0)
    equal((none["KeyCount"], none.get("Contents"), none["IsTruncated"]), (0, None, False), "a page of no keys")
    most = client.list_objects_v2(Bucket=door.bucket, MaxKeys=5_000)
    equal((most["KeyCount"], most["MaxKeys"]), (1_000, 1_000), "a page of too many keys")
    refused("InvalidArgument", client.list_objects_v2, Bucket=door.bucket, MaxKeys=-1)
    refused("InvalidArgument", client.list_objects_v2, Bucket=door.bucket, ContinuationToken="no token!")


def listing_v1(door):
    """The same with list_objects, which older clients use: its pages follow markers."""
    client, keys = door.client(), [*FULL[:30], *MANY, *LOOSE]
    keys = sorted(keys, key=str.encode)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=door.bucket, Key=key, Body=b"x"), keys))
    for size in (1, 7, 1_000):
        pages = client.get_paginator("list_objects").paginate(Bucket=door.bucket, PaginationConfig={"PageSize": size})
        found = [found["Key"] for page in pages for found in page["Contents"]]
        equal(found, keys, f"all pages of {size}")
    seen, marker = [], ""
    while True:
        page = client.list_objects(Bucket=door.bucket, Delimiter="/", MaxKeys=2, Marker=marker)
        names = [found["Key"] for found in page.get("Contents", [])]
        names += [found["Prefix"] for found in page.get("CommonPrefixes", [])]
        equal((len(names) <= 2, page["Marker"]), (True, marker), f"the page after {marker!r}")
        seen += sorted(names, key=str.encode)
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    equal(seen, folded(keys, "", "/"), "all pages with a delimiter")
    after = client.list_objects(Bucket=door.bucket, Marker="full/0010", Prefix="full/")
    equal([found["Key"] for found in after["Contents"]], FULL[11:30], "what follows a marker")
    equal((after["IsTruncated"], after["Prefix"], after["MaxKeys"]), (False, "full/", 1_000), "the last page")
    none = client.list_objects(Bucket=door.bucket, MaxKeys=0)
    equal((none.get("Contents"), none["IsTruncated"]), (None, False), "a page of no keys")
