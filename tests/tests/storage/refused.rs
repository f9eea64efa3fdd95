//! What is wrong with buckets, objects and their triggers is refused, and nothing of it is kept.

use std::time::Duration;

use mayfly_tests::{Platform, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{create, get, keys, put};

on_both_databases!(
    buckets_that_cannot_be,
    keys_that_cannot_be_and_keys_that_only_look_so,
    uploads_that_are_cut_change_nothing,
    triggers_of_buckets_that_cannot_be,
    strangers_find_the_door_closed,
);

async fn refused(platform: &Platform, method: Method, path: &str, document: Value, status: u16, code: &str) {
    let request = platform.api(method, &format!("/v1/ns/default/{path}"));
    let answer = request.json(&document).send().await.expect("an answer");
    let found = answer.status().as_u16();
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (found, problem["code"].as_str()),
        (status, Some(code)),
        "{path} {document:.200}: {problem}"
    );
}

async fn buckets_that_cannot_be(platform: &mut Platform) {
    create(platform, "photos").await;
    let long = "a".repeat(64);
    for (name, status, code) in [
        ("photos", 409, "bucket_exists"),
        ("", 400, "invalid_name"),
        ("ab", 400, "invalid_name"),
        ("Photos", 400, "invalid_name"),
        ("a.b.c", 400, "invalid_name"),
        ("../..", 400, "invalid_name"),
        ("-abc", 400, "invalid_name"),
        (long.as_str(), 400, "invalid_name"),
    ] {
        refused(platform, Method::POST, "buckets", json!({ "name": name }), status, code).await;
    }
    let more = json!({ "name": "abc", "region": "eu" });
    refused(platform, Method::POST, "buckets", more, 400, "invalid_config").await;
    for path in [
        "buckets/nothing",
        "buckets/nothing/credentials",
        "buckets/No%20Name/objects",
    ] {
        refused(platform, Method::GET, path, json!({}), 404, "bucket_not_found").await;
    }
    for query in ["limit=0", "limit=1001", "limit=x"] {
        let path = format!("buckets/photos/objects?{query}");
        refused(platform, Method::GET, &path, json!({}), 400, "invalid_parameter").await;
    }
    let listed = platform.fn_(&["bucket", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
}

async fn keys_that_cannot_be_and_keys_that_only_look_so(platform: &mut Platform) {
    create(platform, "photos").await;
    let long = "\u{1f642}".repeat(256);
    let mut odd = [
        "..",
        "../../../../etc/passwd",
        "/",
        "//a//",
        "a\nb\r\tc",
        "C:\\x",
        "%2e%2e%2f",
        "a b+c&d=e?f#g",
        " ",
        long.as_str(),
    ];
    for key in odd {
        put(platform, "photos", key, key.to_owned()).await;
    }
    for key in odd {
        assert_eq!(
            get(platform, "photos", key).await.as_deref(),
            Some(key.as_bytes()),
            "{key:?}"
        );
    }
    odd.sort_unstable();
    assert_eq!(
        keys(platform, "photos").await,
        odd,
        "as they are, in the order of their bytes"
    );
    for key in ["", "a%00b", "a%01", "%EF%BF%BF", &"x".repeat(1_025)] {
        let path = format!("buckets/photos/object?key={key}");
        refused(platform, Method::PUT, &path, json!({}), 400, "invalid_parameter").await;
    }
    refused(
        platform,
        Method::PUT,
        "buckets/photos/object",
        json!({}),
        400,
        "invalid_parameter",
    )
    .await;
    refused(
        platform,
        Method::PUT,
        "buckets/nothing/object?key=a",
        json!({}),
        404,
        "bucket_not_found",
    )
    .await;
    assert_eq!(keys(platform, "photos").await, odd);
}

/// Sends the head of an upload and a part of its body, then goes away.
async fn cut(platform: &Platform, request: reqwest::RequestBuilder, length: &str, body: &[u8]) {
    let request = request.build().expect("a request");
    let url = request.url();
    let address = platform.admin.strip_prefix("http://").expect("plain HTTP");
    let token = request.headers()["authorization"].to_str().expect("text");
    let head = format!(
        "PUT {}?{} HTTP/1.1\r\nhost: {address}\r\nauthorization: {token}\r\n{length}\r\n\r\n",
        url.path(),
        url.query().unwrap_or_default()
    );
    let talking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.shutdown().await?;
        // The server has seen the end when it has closed, too.
        stream.read_to_end(&mut Vec::new()).await
    };
    // An answer is not needed; a reset is one, too.
    let _ = timeout(Duration::from_secs(60), talking)
        .await
        .expect("the server lets go");
}

async fn uploads_that_are_cut_change_nothing(platform: &mut Platform) {
    create(platform, "photos").await;
    platform.deploy("consume", &["--name", "f"]).await;
    put(platform, "photos", "old", "as it was").await;
    super::watch(platform, "f", "photos", "t", &["--events", "created,removed"]).await;
    for key in ["old", "new"] {
        for (length, body) in [
            ("content-length: 100000", &[b'x'; 50_000][..]),
            ("content-length: 5", b"abcd"),
            ("transfer-encoding: chunked", b"5\r\nhello\r\n"),
            ("transfer-encoding: chunked", b"5\r\nhello\r\nnonsense\r\n"),
        ] {
            let request = platform.api(Method::PUT, "/v1/ns/default/buckets/photos/object");
            cut(platform, request.query(&[("key", key)]), length, body).await;
        }
    }
    // Longer than an object may be: refused before a byte comes.
    let request = platform.api(Method::PUT, "/v1/ns/default/buckets/photos/object");
    cut(
        platform,
        request.query(&[("key", "new")]),
        "content-length: 5368709121",
        b"",
    )
    .await;
    assert_eq!(keys(platform, "photos").await, ["old"]);
    assert_eq!(get(platform, "photos", "old").await.as_deref(), Some(&b"as it was"[..]));
    put(platform, "photos", "last", "x").await;
    let given = super::given(platform, "f", 1).await;
    assert_eq!(given.len(), 1, "only a whole object is news: {given:?}");
    assert_eq!(given[0]["s3"]["object"]["key"], "last");
    // Nor is a file of them left.
    assert_eq!(files(&platform.dir().join("data/objects")), 2);
}

/// Files of objects below a folder.
fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let is_owner = path.file_name().is_some_and(|name| name == "owner");
            if path.is_dir() {
                files(&path)
            } else {
                usize::from(!is_owner)
            }
        })
        .sum()
}

async fn triggers_of_buckets_that_cannot_be(platform: &mut Platform) {
    platform.deploy("consume", &["--name", "f"]).await;
    create(platform, "photos").await;
    let long = "x".repeat(1_025);
    for (more, status, code) in [
        (json!({"bucket": "nothing"}), 404, "bucket_not_found"),
        (json!({"bucket": "No Name"}), 400, "invalid_parameter"),
        (json!({"function": "nothing"}), 404, "function_not_found"),
        (json!({"prefix": long}), 400, "invalid_parameter"),
        (json!({"suffix": long}), 400, "invalid_parameter"),
        (json!({"events": []}), 400, "invalid_parameter"),
        (json!({"events": ["renamed"]}), 400, "invalid_config"),
        (json!({"queue": "orders"}), 400, "invalid_parameter"),
        (json!({"colour": "red"}), 400, "invalid_config"),
    ] {
        let mut document = json!({"kind": "storage", "function": "f", "bucket": "photos"});
        let fields = document.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        refused(platform, Method::POST, "triggers", document, status, code).await;
    }
    super::watch(platform, "f", "photos", "t", &[]).await;
    platform
        .fn_(&["trigger", "fire", "t"])
        .await
        .failed(1, "invalid_parameter");
    for more in [
        &["--bucket", "photos", "--events", "renamed"][..],
        &["--bucket", ""],
        &[],
        &["--queue", "minio"],
        &["--webhook", "--queue", "minio"],
        &["--bucket", "photos", "--amqp", "amqp://localhost"],
    ] {
        let args = [&["trigger", "create", "storage", "f"], more].concat();
        let refused = platform.fn_(&args).await;
        assert!(
            [1, 2].contains(&refused.code) && !refused.stderr.is_empty(),
            "{more:?}: {refused:?}"
        );
    }
    let listed = platform.fn_(&["trigger", "list", "--json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

/// The listener for clients of S3, without a key: each answer is an error in the XML of S3.
async fn strangers_find_the_door_closed(platform: &mut Platform) {
    create(platform, "photos").await;
    put(platform, "photos", "a", "secret").await;
    let client = mayfly_tests::http_client();
    let storage = &platform.storage;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/photos"),
        (Method::GET, "/photos/a"),
        (Method::PUT, "/photos/b"),
        (Method::DELETE, "/photos/a"),
        (Method::POST, "/photos?delete"),
        (Method::GET, "/nothing/a"),
        (Method::GET, "/%2e%2e/%2e%2e/mayfly.db"),
    ] {
        let answer = client.request(method.clone(), format!("{storage}{path}")).send().await;
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        assert_eq!(status, 403, "{method} {path}: {text}");
        assert!(text.contains("<Code>AccessDenied</Code>"), "{method} {path}: {text}");
    }
    for authorization in [
        "AWS a:b",
        "Bearer x",
        "AWS4-HMAC-SHA256 Credential=x",
        "AWS4-HMAC-SHA256 \u{e4}",
    ] {
        let request = client
            .get(format!("{storage}/photos/a"))
            .header("authorization", authorization);
        let status = request.send().await.expect("an answer").status().as_u16();
        assert!((400..=403).contains(&status), "{authorization}: {status}");
    }
    assert_eq!(keys(platform, "photos").await, ["a"]);
}
