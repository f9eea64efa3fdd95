//! `fn bucket`: made, listed, filled, emptied, deleted.

use std::fs;

use mayfly_tests::{Platform, on_both_databases};

use super::{create, get, keys, put};

on_both_databases!(
    a_bucket_is_filled_and_emptied_from_the_command_line,
    a_key_opens_its_bucket_until_it_is_replaced,
    what_a_bucket_holds_survives_a_restart,
    the_objects_of_another_database_are_left_alone,
    names_that_no_bucket_can_have_are_not_even_sent,
);

async fn a_bucket_is_filled_and_emptied_from_the_command_line(platform: &mut Platform) {
    platform.fn_(&["bucket", "create", "photos"]).await.ok();
    platform
        .fn_(&["bucket", "create", "photos"])
        .await
        .failed(1, "bucket_exists");
    let listed = platform.fn_(&["bucket", "list", "--json"]).await.json();
    assert_eq!(listed[0]["name"], "photos", "{listed}");

    // Larger than what is written at once, and of every byte.
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|place| place.to_le_bytes()[0] ^ place.to_le_bytes()[1])
        .collect();
    let file = platform.dir().join("picture.jpg");
    fs::write(&file, &bytes).expect("a file");
    let path = file.to_string_lossy();
    platform.fn_(&["bucket", "put", "photos", &path]).await.ok();
    platform
        .fn_(&["bucket", "put", "photos", &path, "raw/../odd \u{1f642}\n.jpg"])
        .await
        .ok();
    platform
        .fn_with_input(
            &["bucket", "put", "photos", "-", "raw/in/text.txt"],
            b"from standard input",
        )
        .await
        .ok();
    assert_eq!(
        keys(platform, "photos").await,
        ["picture.jpg", "raw/../odd \u{1f642}\n.jpg", "raw/in/text.txt"]
    );
    let folders = platform.fn_(&["bucket", "ls", "photos", "--json"]).await.json();
    assert_eq!(folders["folders"][0], "raw/", "{folders}");
    assert_eq!(folders["objects"].as_array().map(Vec::len), Some(1));
    let shown = platform.fn_(&["bucket", "show", "photos", "--json"]).await.json();
    assert_eq!(shown["objects"], 3);
    assert_eq!(shown["bytes"], 2 * bytes.len() + 19);

    let printed = platform.fn_(&["bucket", "get", "photos", "raw/in/text.txt"]).await.ok();
    assert_eq!(printed, "from standard input");
    let back = platform.dir().join("back.jpg").to_string_lossy().into_owned();
    platform
        .fn_(&["bucket", "get", "photos", "picture.jpg", &back])
        .await
        .ok();
    assert!(fs::read(&back).expect("a file") == bytes, "the bytes are the same");
    for (args, code) in [
        (["get", "photos", "nothing"], "object_not_found"),
        (["get", "nothing", "a"], "bucket_not_found"),
        (["put", "nothing", &path], "bucket_not_found"),
    ] {
        let args = [&["bucket"][..], &args].concat();
        platform.fn_(&args).await.failed(1, code);
    }
    let nowhere = platform.dir().join("nowhere/back.jpg").to_string_lossy().into_owned();
    platform
        .fn_(&["bucket", "get", "photos", "picture.jpg", &nowhere])
        .await
        .failed(2, "file_not_written");

    platform
        .fn_(&["bucket", "delete", "photos"])
        .await
        .failed(1, "bucket_in_use");
    platform.fn_(&["bucket", "rm", "photos", "picture.jpg"]).await.ok();
    platform.fn_(&["bucket", "rm", "photos", "--prefix", "raw/"]).await.ok();
    assert_eq!(keys(platform, "photos").await, [""; 0]);
    platform.fn_(&["bucket", "delete", "photos"]).await.ok();
    platform
        .fn_(&["bucket", "show", "photos"])
        .await
        .failed(1, "bucket_not_found");
}

async fn a_key_opens_its_bucket_until_it_is_replaced(platform: &mut Platform) {
    create(platform, "photos").await;
    let first = platform
        .fn_(&["bucket", "credentials", "photos", "--json"])
        .await
        .json();
    assert_eq!(first["endpoint"], platform.storage);
    let again = platform
        .fn_(&["bucket", "credentials", "photos", "--json"])
        .await
        .json();
    assert_eq!(first, again);
    let text = platform.fn_(&["bucket", "credentials", "photos"]).await.ok();
    for part in ["access_key_id", "secret_access_key"] {
        assert!(text.contains(first[part].as_str().expect("text")), "{text}");
    }
    let second = platform
        .fn_(&["bucket", "credentials", "photos", "--rotate", "--json"])
        .await
        .json();
    assert_ne!(first["access_key_id"], second["access_key_id"]);
    assert_ne!(first["secret_access_key"], second["secret_access_key"]);
    platform
        .fn_(&["bucket", "credentials", "nothing"])
        .await
        .failed(1, "bucket_not_found");
    // No file of the server holds the secret as it is.
    let secret = second["secret_access_key"].as_str().expect("text").as_bytes();
    for entry in fs::read_dir(platform.dir().join("data")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{}",
                path.display()
            );
        }
    }
}

async fn what_a_bucket_holds_survives_a_restart(platform: &mut Platform) {
    create(platform, "photos").await;
    put(platform, "photos", "a", "before").await;
    platform.kill().await;
    platform.restart().await;
    assert_eq!(get(platform, "photos", "a").await.as_deref(), Some(&b"before"[..]));
    put(platform, "photos", "a", "after").await;
    platform.terminate();
    platform.ended().await;
    platform.restart().await;
    assert_eq!(get(platform, "photos", "a").await.as_deref(), Some(&b"after"[..]));
}

async fn names_that_no_bucket_can_have_are_not_even_sent(platform: &mut Platform) {
    for name in ["No", "ab", ".."] {
        let refused = platform.fn_(&["bucket", "create", name]).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.stderr.contains("3 to 63 characters"), "{refused:?}");
    }
    let listed = platform.fn_(&["bucket", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(0));
}

/// A server that knows nothing of these objects would delete them, as what writes have left that were cut off.
async fn the_objects_of_another_database_are_left_alone(platform: &mut Platform) {
    create(platform, "photos").await;
    put(platform, "photos", "a", "here").await;
    let other = platform.dir().join("other").to_string_lossy().into_owned();
    let objects = platform.dir().join("data/objects").to_string_lossy().into_owned();
    let anywhere = "127.0.0.1:0";
    let listeners = ["--listen", anywhere, "--admin", anywhere, "--storage", anywhere];
    let folders = ["--data-dir", &other, "--objects-dir", &objects];
    let refused = platform.serve_again(&[&listeners[..], &folders].concat()).await;
    refused.failed(1, "data_dir_unwritable");
    assert!(refused.stderr.contains("--objects-dir"), "{}", refused.stderr);
    assert_eq!(get(platform, "photos", "a").await.as_deref(), Some(&b"here"[..]));
}
