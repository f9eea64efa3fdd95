//! What a call used, and what all calls used together.

use std::collections::HashMap;

use mayfly_tests::{Platform, Reply, eventually, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

on_both_databases!(
    every_call_is_one_row_and_the_sums_are_right,
    a_record_says_what_one_call_used,
    a_client_may_ask_where_the_time_went,
    failures_are_counted_and_explained,
    a_client_that_goes_away_leaves_a_record,
    usage_is_told_by_function_version_and_day,
    a_period_has_a_first_moment_and_an_end,
    pages_of_invocations_follow_each_other,
);

const CALLS: usize = 20;

async fn every_call_is_one_row_and_the_sums_are_right(platform: &mut Platform) {
    platform
        .deploy("misbehave", &["--name", "echo", "--memory", "256"])
        .await;
    let mut bytes = 0;
    for call in 0..CALLS {
        let body = "x".repeat(call * 1000);
        let answer = platform.post("/echo/echo", body.clone()).await;
        assert_eq!((answer.status, answer.text()), (200, body));
        bytes += call * 1000;
    }
    let records = platform.invocations("echo").await;
    let row = platform.usage_of("echo").await;
    assert_eq!(records.len(), CALLS);
    assert_eq!(
        (&row["invocations"], &row["errors"]),
        (&json!(CALLS), &json!(0)),
        "{row}"
    );
    assert_eq!(
        (&row["bytes_in"], &row["bytes_out"]),
        (&json!(bytes), &json!(bytes)),
        "{row}"
    );
    let sum = |field: &str| {
        records
            .iter()
            .map(|record| record["usage"][field].as_u64().expect(field))
            .sum::<u64>()
    };
    assert_eq!(row["billed_ms"], sum("billed_ms"), "{row}");
    let cold = records
        .iter()
        .filter(|record| record["usage"]["start"] == "cold")
        .count();
    assert_eq!(row["cold_starts"], cold);
    assert!(
        (1..CALLS).contains(&cold),
        "instances are reused: {cold} of {CALLS} were cold"
    );
    // 256 MiB for the billed time, in units of 2^30 bytes and seconds.
    let gb_seconds = row["gb_seconds"].as_f64().expect("a number");
    let wanted = 0.25 * row["billed_ms"].as_f64().expect("a number") / 1000.0;
    assert!((gb_seconds - wanted).abs() < 1e-9, "{gb_seconds} is not {wanted}");
}

async fn a_record_says_what_one_call_used(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "one", "--memory", "64"]).await;
    let answer = platform.get("/one/sleep?ms=30").await;
    let record = platform
        .api_get(&format!("/v1/ns/default/invocations/{}", answer.invocation_id()))
        .await
        .json();
    for (field, value) in [
        ("namespace", json!("default")),
        ("function", json!("one")),
        ("version", json!(1)),
        ("trigger", json!("http")),
        ("attempt", json!(1)),
        ("status", json!("ok")),
        ("http_status", json!(200)),
        ("error_code", Value::Null),
    ] {
        assert_eq!(record[field], value, "{field} of {record}");
    }
    let usage = &record["usage"];
    let number = |field: &str| usage[field].as_f64().unwrap_or_else(|| panic!("no {field}: {record}"));
    assert_eq!(usage["start"], "cold");
    assert_eq!(answer.header("mayfly-start"), "cold");
    assert!(number("duration_ms") >= 30.0, "{record}");
    assert!(
        number("billed_ms") >= number("duration_ms"),
        "begun milliseconds are billed: {record}"
    );
    assert!(
        number("billed_ms") < number("duration_ms") + 1.0 + f64::EPSILON,
        "{record}"
    );
    assert!(
        number("init_ms") > 0.0 && number("init_ms") < number("duration_ms"),
        "{record}"
    );
    assert!(
        number("cpu_ms") < number("duration_ms"),
        "waiting costs no processor time: {record}"
    );
    assert_eq!(usage["memory_limit_bytes"], 64 << 20);
    assert!(
        (65_536.0..67_108_864.0).contains(&number("memory_peak_bytes")),
        "{record}"
    );
    let at = record["started_at"].as_str().expect("a time");
    assert!(
        at.len() == 24 && at.ends_with('Z') && at.as_bytes()[10] == b'T',
        "RFC 3339 with milliseconds: {at}"
    );
}

async fn a_client_may_ask_where_the_time_went(platform: &mut Platform) {
    // Each answer has an instance to make.
    platform
        .deploy("misbehave", &["--name", "timed", "--isolation", "invocation"])
        .await;
    let asked = eventually("an answer whose guest had ended before it went out", async || {
        let ask = platform.request(Method::GET, "/timed/headers");
        let response = ask.header("mayfly-timing", "please").send().await.expect("an answer");
        let asked = Reply::read(response).await.expect("all of it");
        // On a busy machine a guest may be made to give way between the two.
        asked.header("server-timing").contains("run;").then_some(asked)
    })
    .await;
    assert!(
        !asked.text().contains("mayfly-timing"),
        "not for the guest: {}",
        asked.text()
    );
    let parts: HashMap<_, f64> = asked
        .header("server-timing")
        .split(", ")
        .map(|part| part.split_once(";dur=").expect("a name and a duration"))
        .map(|(name, ms)| (name, ms.parse().expect("milliseconds")))
        .collect();
    let record = platform
        .api_get(&format!("/v1/ns/default/invocations/{}", asked.invocation_id()))
        .await
        .json();
    let number = |field: &str| {
        record["usage"][field]
            .as_f64()
            .unwrap_or_else(|| panic!("no {field}: {record}"))
    };
    for (part, recorded) in [
        ("queue", number("queue_ms")),
        ("code", number("code_ms")),
        ("init", number("init_ms")),
        ("cpu", number("cpu_ms")),
        ("run", number("duration_ms") - number("init_ms")),
    ] {
        assert!((parts[part] - recorded).abs() < 1e-6, "{part} in {parts:?}, {record}");
    }
    assert!(parts["init"] > 0.0 && parts["run"] > 0.0, "{parts:?}");
    let plain = platform.get("/timed/count").await;
    assert_eq!(plain.header("server-timing"), "", "nobody asked");
}

async fn failures_are_counted_and_explained(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "bad"]).await;
    platform.get("/bad/trap").await.is_problem(500, "function_trapped");
    assert_eq!(platform.get("/bad/count").await.status, 200);
    platform.get("/bad/no-response").await.is_problem(502, "bad_response");
    let row = platform.usage_of("bad").await;
    assert_eq!((&row["invocations"], &row["errors"]), (&json!(3), &json!(2)), "{row}");
    let failed = platform.fn_(&["invocations", "bad", "--failed", "--json"]).await.json();
    let codes: Vec<_> = failed
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| record["error_code"].clone())
        .collect();
    assert_eq!(codes, ["bad_response", "function_trapped"], "newest first");
    assert!(
        failed[0]["error_message"].as_str().is_some_and(|text| !text.is_empty()),
        "{failed}"
    );
    // What never reached a function is not its usage.
    platform.get("/nobody").await.is_problem(404, "function_not_found");
    let rows = platform.fn_(&["usage", "--json"]).await.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
}

async fn a_client_that_goes_away_leaves_a_record(platform: &mut Platform) {
    platform.deploy("misbehave", &["--name", "slow"]).await;
    let request = platform.request(reqwest::Method::GET, "/slow/slow-body?chunks=100000&ms=5");
    let answer = request.send().await.expect("the head comes at once");
    let id = answer.headers()["mayfly-invocation-id"]
        .to_str()
        .expect("an id")
        .to_owned();
    drop(answer);
    let record = eventually("the record of the call", async || {
        platform.invocations("slow").await.pop()
    })
    .await;
    assert_eq!(
        (&record["id"], &record["error_code"]),
        (&json!(id), &json!("cancelled")),
        "{record}"
    );
    assert!(
        record["usage"]["billed_ms"].as_u64().is_some_and(|ms| ms > 0),
        "what ran is billed: {record}"
    );
    assert_eq!(platform.get("/slow/count").await.text(), "1", "its instance is gone");
    assert_eq!(platform.invocations("slow").await.len(), 2, "one record for every call");
}

async fn usage_is_told_by_function_version_and_day(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "a"]).await;
    platform.get("/a").await;
    platform.deploy("hello-http", &["--name", "a", "--memory", "64"]).await;
    for _ in 0..3 {
        platform.get("/a").await;
    }
    platform.deploy("word-count", &["--name", "b"]).await;
    platform.fn_(&["invoke", "b", "--data", "{}"]).await.ok();

    let counts = |rows: Value, key: &str| -> HashMap<String, u64> {
        let rows = rows.as_array().expect("a list of rows").clone();
        rows.iter()
            .map(|row| (row[key].to_string(), row["invocations"].as_u64().expect("a count")))
            .collect()
    };
    let by_function = platform.fn_(&["usage", "--by", "function", "--json"]).await.json();
    assert_eq!(
        counts(by_function, "function"),
        HashMap::from([(r#""a""#.into(), 4), (r#""b""#.into(), 1)])
    );

    let by_version = platform.fn_(&["usage", "--by", "version", "--json"]).await.json();
    let versions_of_a: Vec<_> = by_version
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["function"] == "a")
        .collect();
    assert_eq!(versions_of_a.len(), 2, "{by_version}");
    assert_eq!(
        versions_of_a
            .iter()
            .map(|row| row["invocations"].as_u64())
            .sum::<Option<u64>>(),
        Some(4)
    );

    let by_day = platform.fn_(&["usage", "--by", "day", "--json"]).await.json();
    assert_eq!(counts(by_day.clone(), "day").values().sum::<u64>(), 5, "{by_day}");
    assert!(by_day[0]["day"].as_str().is_some_and(|day| day.len() == 10), "{by_day}");
    assert!(by_day[0].get("function").is_none_or(Value::is_null), "{by_day}");

    let csv = platform.fn_(&["usage", "--by", "function", "--csv"]).await.ok();
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "function,invocations,errors,cold_starts,billed_ms,gb_seconds,bytes_in,bytes_out"
    );
    assert!(lines.len() == 3 && lines[1].starts_with("a,4,0,"), "{csv}");
    let table = platform.fn_(&["usage"]).await.ok();
    assert!(table.contains("GB-SECONDS"), "{table}");
}

async fn a_period_has_a_first_moment_and_an_end(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "a"]).await;
    let id = platform.get("/a").await.invocation_id();
    let record = platform
        .api_get(&format!("/v1/ns/default/invocations/{id}"))
        .await
        .json();
    let moment = record["started_at"].as_str().expect("a time");
    let count = async |from: &str, to: &str| {
        let rows = platform
            .fn_(&["usage", "--from", from, "--to", to, "--json"])
            .await
            .json();
        rows.as_array()
            .expect("a list")
            .iter()
            .map(|row| row["invocations"].as_u64().expect("a count"))
            .sum::<u64>()
    };
    assert_eq!(count("2020-01-01", "2100-01-01").await, 1);
    assert_eq!(
        count(moment, "2100-01-01").await,
        1,
        "the first moment belongs to the period"
    );
    assert_eq!(count("2020-01-01", moment).await, 0, "its end does not");
    assert_eq!(count("2020-01-01", "2020-01-02").await, 0);
    assert_eq!(platform.fn_(&["usage", "--from", "yesterday"]).await.code, 2);
    platform
        .api_get("/v1/ns/default/usage?from=yesterday")
        .await
        .is_problem(400, "invalid_parameter");
    platform
        .api_get("/v1/ns/default/usage?by=moon")
        .await
        .is_problem(400, "invalid_parameter");
}

async fn pages_of_invocations_follow_each_other(platform: &mut Platform) {
    platform.deploy("hello-http", &["--name", "a"]).await;
    let mut called = Vec::new();
    for _ in 0..7 {
        called.push(platform.get("/a").await.invocation_id());
    }
    called.reverse();
    let mut seen = Vec::new();
    let mut before = String::new();
    for wanted in [3, 3, 1] {
        let page = platform
            .api_get(&format!("/v1/ns/default/functions/a/invocations?limit=3{before}"))
            .await
            .json();
        let ids: Vec<_> = page["invocations"]
            .as_array()
            .expect("a page")
            .iter()
            .map(|it| it["id"].clone())
            .collect();
        assert_eq!(ids.len(), wanted, "{page}");
        seen.extend(ids);
        before = format!("&before={}", page["next"].as_str().unwrap_or_default());
    }
    assert_eq!(before, "&before=", "the last page has no next one");
    assert_eq!(seen, called);
    for bad in ["limit=0", "limit=many", "limit=1000000", "before=x", "status=sad"] {
        let path = format!("/v1/ns/default/functions/a/invocations?{bad}");
        platform.api_get(&path).await.is_problem(400, "invalid_parameter");
    }
    platform
        .api_get("/v1/ns/default/functions/nobody/invocations")
        .await
        .is_problem(404, "function_not_found");
    platform
        .api_get("/v1/ns/nobody/functions")
        .await
        .is_problem(404, "namespace_not_found");
    let unknown = "/v1/ns/default/invocations/0199a7c2-5d0e-7c3a-9f11-0242ac120002";
    platform.api_get(unknown).await.is_problem(404, "invocation_not_found");
}
