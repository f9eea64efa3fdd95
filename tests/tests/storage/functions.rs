//! Functions that read and write objects: the example that makes thumbnails, what they may not do, and circles that end.

use mayfly_tests::{Platform, eventually, on_both_databases, repository};
use serde_json::Value;

use super::{create, get, keys, put, watch};

on_both_databases!(
    pictures_get_thumbnails,
    a_function_reaches_only_the_buckets_it_was_granted,
    a_circle_of_objects_comes_to_an_end,
);

/// The first dead letter of a function.
async fn dead_letter(platform: &Platform, function: &str) -> Value {
    eventually("an event is given up", async || {
        let letters = platform.fn_(&["dlq", "list", function, "--json"]).await.json();
        letters.as_array().and_then(|letters| letters.first().cloned())
    })
    .await
}

fn why(letter: &Value) -> &str {
    letter["error_message"]
        .as_str()
        .unwrap_or_else(|| panic!("a reason: {letter}"))
}

async fn pictures_get_thumbnails(platform: &mut Platform) {
    create(platform, "photos").await;
    let flags = [
        "--name",
        "thumb",
        "--max-attempts",
        "1",
        "--allow-host",
        "photos.s3.mayfly.internal",
    ];
    platform.deploy("photo-thumb", &flags).await;
    // Only new pictures: thumbnails lie in the same bucket, and would be pictures, too.
    watch(platform, "thumb", "photos", "to-thumb", &["--prefix", "raw/"]).await;
    let picture = repository().join("tests/pictures/quadrants.jpg");
    let picture = picture.to_string_lossy();
    for key in ["raw/quadrants.jpg", "raw/a trip/\u{e4}+%.jpg"] {
        platform
            .fn_(&["bucket", "put", "photos", &picture, key, "--content-type", "image/jpeg"])
            .await
            .ok();
    }
    for key in ["thumbs/quadrants.png", "thumbs/a trip/\u{e4}+%.png"] {
        let thumb = eventually("there is a thumbnail", async || get(platform, "photos", key).await).await;
        assert_eq!(thumb.get(..8), Some(&b"\x89PNG\r\n\x1a\n"[..]), "{key}");
        // Width and height, as the head of every PNG says them.
        assert_eq!(thumb.get(16..24), Some(&[0, 0, 0, 128, 0, 0, 0, 80][..]), "{key}");
    }
    put(platform, "photos", "raw/notes.txt", "this is no picture").await;
    let letter = dead_letter(platform, "thumb").await;
    assert!(why(&letter).contains("not_a_picture"), "{letter}");
    assert_eq!(
        platform.invocations("thumb").await.len(),
        3,
        "no thumbnail was taken for a picture"
    );
    assert_eq!(keys(platform, "photos").await.len(), 5);
}

async fn a_function_reaches_only_the_buckets_it_was_granted(platform: &mut Platform) {
    create(platform, "photos").await;
    create(platform, "private").await;
    put(platform, "private", "raw/secret", "nobody's business").await;
    let grants: [(&str, &[&str]); 3] = [
        ("none", &[]),
        ("other", &["--allow-host", "private.s3.mayfly.internal"]),
        // Whoever may go anywhere may not go in by that.
        ("any", &["--allow-host", "*"]),
    ];
    for (function, grant) in grants {
        let flags = ["--name", function, "--max-attempts", "1"];
        platform.deploy("consume", &[&flags, grant].concat()).await;
        watch(platform, function, "photos", function, &["--prefix", "round/"]).await;
        put(platform, "photos", "round/7", "x").await;
        let letter = dead_letter(platform, function).await;
        assert!(
            why(&letter).contains("--allow-host photos.s3.mayfly.internal"),
            "{letter}"
        );
        platform.fn_(&["trigger", "delete", function]).await.ok();
    }
    assert_eq!(keys(platform, "photos").await, ["round/7"], "nothing was written");

    let flags = [
        "--name",
        "all",
        "--max-attempts",
        "1",
        "--allow-host",
        "*.s3.mayfly.internal",
    ];
    platform.deploy("consume", &flags).await;
    watch(platform, "all", "photos", "all", &["--prefix", "round/"]).await;
    put(platform, "photos", "round/7", "x").await;
    eventually("the next one is written", async || {
        get(platform, "photos", "round/8").await
    })
    .await;
    assert_eq!(keys(platform, "private").await, ["raw/secret"]);
}

/// A function that writes an object for each one that is written.
async fn a_circle_of_objects_comes_to_an_end(platform: &mut Platform) {
    create(platform, "photos").await;
    let flags = [
        "--name",
        "f",
        "--max-attempts",
        "1",
        "--allow-host",
        "photos.s3.mayfly.internal",
    ];
    platform.deploy("consume", &flags).await;
    watch(platform, "f", "photos", "t", &["--prefix", "round/"]).await;
    put(platform, "photos", "round/0", "x").await;
    let letter = dead_letter(platform, "f").await;
    assert!(why(&letter).contains("recursion_detected"), "{letter}");
    assert_eq!(letter["depth"], 16);
    assert_eq!(platform.invocations("f").await.len(), 17, "the first and sixteen more");
    assert_eq!(keys(platform, "photos").await.len(), 17);
    assert_eq!(
        get(platform, "photos", "round/16").await.as_deref(),
        Some(&b"round/15"[..])
    );
}
