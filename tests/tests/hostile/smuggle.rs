//! H1: requests that two readers could read in two ways. The server must refuse one and close, or take it as exactly one
//! request with exactly the body that its sender declared.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::arena::Arena;
use super::raw::{Talk, talk};

/// Longer than the time limit of the function, so that a call which waits for its body has an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What hides behind a request: who takes the body to be shorter will see a second request.
const HIDDEN: &str = "GET /attacker/measure?hidden HTTP/1.1\r\nhost: x\r\n\r\n";

/// A request as it goes out, and the length of the body that it may be taken to have.
struct Case {
    name: String,
    bytes: Vec<u8>,
    /// `None` for what has no valid reading.
    body: Option<usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_smuggling() {
    let arena = Arena::with_attacker(&["--timeout", "1s"]).await;
    let cases = corpus();
    let (refused, taken) = arena
        .endures("H1", async || {
            let talks = stream::iter(&cases)
                .map(async |case| (case, talk(&arena.platform.functions, &case.bytes, PATIENCE).await));
            let talks: Vec<_> = talks.buffer_unordered(8).collect().await;
            let judged: Vec<_> = talks.iter().map(|(case, talk)| judge(case, talk)).collect();
            let wrong: Vec<_> = judged.iter().filter_map(|judged| judged.as_ref().err()).collect();
            assert!(wrong.is_empty(), "{wrong:#?}");
            let taken = judged.iter().filter(|judged| **judged == Ok(true)).count();
            Ok((cases.len() - taken, taken))
        })
        .await;
    let printed = arena.platform.fn_(&["logs", "attacker", "--limit", "1000"]).await.ok();
    assert!(
        printed.contains("measured"),
        "the function tells what it got: {printed}"
    );
    assert!(!printed.contains("hidden"), "a hidden request was run: {printed}");
    Arena::report(
        "H1",
        &format!("{} ambiguous requests", cases.len()),
        &format!("{refused} refused and closed, {taken} taken as one request each, 0 hidden requests run"),
        "0",
    );
}

/// Whether the request was taken as one; anything else than that or a refusal is wrong.
fn judge(case: &Case, talk: &Talk) -> Result<bool, String> {
    let wrong = |what: &str| Err(format!("{}: {what}: {talk:?}", case.name));
    let whole = |bytes: usize| talk.text.contains(&format!(" whole {bytes}"));
    if talk.text.contains("hidden") {
        return wrong("the hidden request was answered");
    }
    match (talk.statuses().as_slice(), case.body) {
        // The guest was told that its body broke off.
        ([200], _) if talk.text.contains(" broken ") && talk.closed => Ok(false),
        ([200], Some(bytes)) if whole(bytes) => Ok(true),
        // A refusal after the request: what follows it was no request, and the connection is over.
        ([200, 400], Some(bytes)) if whole(bytes) && talk.closed => Ok(true),
        ([] | [400 | 405 | 408 | 411 | 413 | 414 | 431 | 501 | 505], _) if talk.closed => Ok(false),
        ([] | [400..=499], _) => wrong("refused, but the connection stays open"),
        // The guest was given a body that broke off, and no answer of its own can be complete.
        ([502 | 504], _) => Ok(false),
        _ => wrong("taken as something else"),
    }
}

/// The corpus: what is said about the length, times how it is spelled, times what follows.
fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    lengths(&mut cases);
    codings(&mut cases);
    both(&mut cases);
    chunks(&mut cases);
    lines(&mut cases);
    cases
}

fn case(cases: &mut Vec<Case>, name: String, headers: &str, body: &str, taken_as: Option<usize>) {
    let head = format!(
        "POST /attacker/measure?case={} HTTP/1.1\r\nhost: x\r\n{headers}\r\n",
        cases.len()
    );
    cases.push(Case {
        name,
        bytes: [head.as_bytes(), body.as_bytes()].concat(),
        body: taken_as,
    });
}

/// Content-Length that is no number, twice there, or disguised.
fn lengths(cases: &mut Vec<Case>) {
    for value in BAD_LENGTHS {
        case(
            cases,
            format!("content-length: {value:?}"),
            &format!("content-length: {value}\r\n"),
            HIDDEN,
            None,
        );
    }
    for (first, second) in [
        ("5", "6"),
        ("6", "5"),
        ("0", "5"),
        ("5", "0"),
        ("5", ""),
        ("", "5"),
        ("5", "+5"),
    ] {
        let headers = format!("content-length: {first}\r\ncontent-length: {second}\r\n");
        case(
            cases,
            format!("content-length twice: {first:?}, {second:?}"),
            &headers,
            HIDDEN,
            None,
        );
        let headers = format!("content-length: {first}\r\nx-between: y\r\nCONTENT-LENGTH: {second}\r\n");
        case(
            cases,
            format!("content-length apart: {first:?}, {second:?}"),
            &headers,
            HIDDEN,
            None,
        );
    }
    // These have one reading; other readers may have another, so a refusal is as good.
    for value in ["5", "05", "0000000005", " 5", "5 ", "\t5\t", "5, 5", "5,5"] {
        case(
            cases,
            format!("content-length: {value:?} fits"),
            &format!("content-length: {value}\r\n"),
            "abcde",
            Some(5),
        );
    }
    case(
        cases,
        "content-length twice, the same".to_owned(),
        "content-length: 5\r\ncontent-length: 5\r\n",
        "abcde",
        Some(5),
    );
    for name in [
        "content-length ",
        " content-length",
        "content length",
        "content-length\t",
        "content_length\u{0}",
        "content-length\u{b}",
    ] {
        case(cases, format!("name {name:?}"), &format!("{name}: 5\r\n"), HIDDEN, None);
    }
}

/// Transfer-Encoding that is not `chunked` and nothing else.
fn codings(cases: &mut Vec<Case>) {
    let body = format!("0\r\n\r\n{HIDDEN}");
    for value in BAD_CODINGS {
        case(
            cases,
            format!("transfer-encoding: {value:?}"),
            &format!("transfer-encoding: {value}\r\n"),
            &body,
            None,
        );
        let headers = format!("content-length: 5\r\ntransfer-encoding: {value}\r\n");
        case(
            cases,
            format!("length and transfer-encoding: {value:?}"),
            &headers,
            &body,
            None,
        );
    }
    for name in [
        "transfer-encoding ",
        " transfer-encoding",
        "transfer encoding",
        "transfer-encoding\t",
        "transfer\u{0}-encoding",
        "transfer-encoding\u{b}",
    ] {
        case(
            cases,
            format!("name {name:?}"),
            &format!("{name}: chunked\r\n"),
            &body,
            None,
        );
    }
    for headers in [
        "transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n",
        "transfer-encoding: cow\r\ntransfer-encoding: cow\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: chunked, cow\r\n",
    ] {
        case(cases, format!("{headers:?}"), headers, &body, None);
    }
    for value in ["chunked", "Chunked", "CHUNKED", " chunked", "chunked ", "\tchunked\t"] {
        let body = "5\r\nabcde\r\n0\r\n\r\n";
        case(
            cases,
            format!("transfer-encoding: {value:?} fits"),
            &format!("transfer-encoding: {value}\r\n"),
            body,
            Some(5),
        );
    }
}

/// Both at once, in both orders. RFC 9112 lets a server take the coding, if it closes the connection after that request.
fn both(cases: &mut Vec<Case>) {
    for (length, body, taken_as) in [
        (6, format!("0\r\n\r\n{HIDDEN}"), 0),
        (4, format!("5\r\nabcde\r\n0\r\n\r\n{HIDDEN}"), 5),
        (0, format!("0\r\n\r\n{HIDDEN}"), 0),
        (1000, format!("0\r\n\r\n{HIDDEN}"), 0),
    ] {
        for headers in [
            format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
            format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
            format!("Content-Length: {length}\r\nx: y\r\nTransfer-Encoding: Chunked\r\n"),
        ] {
            case(cases, format!("both: {headers:?}"), &headers, &body, Some(taken_as));
        }
    }
    let old = "POST /attacker/measure?old HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    cases.push(Case {
        name: "chunked in HTTP/1.0".to_owned(),
        bytes: format!("{old}{HIDDEN}").into_bytes(),
        body: None,
    });
}

/// Chunks that do not follow the rules.
fn chunks(cases: &mut Vec<Case>) {
    let bad = [
        "5\nabcde\r\n0\r\n\r\n",
        "5\rabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "5 5\r\nabcde\r\n0\r\n\r\n",
        "g\r\nabcde\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdef\r\n0\r\n\r\n",
        "5\r\nabcde0\r\n\r\n",
        "5\r\nabcd\r\n0\r\n\r\n",
        "10000000000000005\r\nabcde\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "8000000000000000\r\nabcde\r\n0\r\n\r\n",
        "5;\nabcde\r\n0\r\n\r\n",
        "5;a\nb\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "5\r\nabcde\r0\r\n\r\n",
        "5\u{0}\r\nabcde\r\n0\r\n\r\n",
        "\u{b}5\r\nabcde\r\n0\r\n\r\n",
        "5,5\r\nabcde\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\n: z\r\n\r\n",
        "0\r\nx\u{0}: z\r\n\r\n",
    ];
    for body in bad {
        let followed = format!("{body}{HIDDEN}");
        case(
            cases,
            format!("chunk {body:?}"),
            "transfer-encoding: chunked\r\n",
            &followed,
            None,
        );
    }
    for body in [
        "5\r\nabcde\r\n0\r\n\r\n",
        "05\r\nabcde\r\n0\r\n\r\n",
        "5;a=b\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        "5\t\r\nabcde\r\n0\r\n\r\n",
        "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        "5\r\nabcde\r\n000\r\n\r\n",
        "5\r\nabcde\r\n0\r\nx: y\r\n\r\n",
        "5\r\nabcde\r\n0\r\ncontent-length: 3\r\n\r\n",
        // What follows is read as a trailer of this request, not as another request.
        &format!("5\r\nabcde\r\n0\r\n\n{HIDDEN}"),
    ] {
        case(
            cases,
            format!("chunk {body:?} fits"),
            "transfer-encoding: chunked\r\n",
            body,
            Some(5),
        );
    }
}

/// Lines that end or go on in ways that are not HTTP's.
fn lines(cases: &mut Vec<Case>) {
    for headers in [
        "x: y\r\n content-length: 5\r\n",
        "x: y\r\n\tcontent-length: 5\r\n",
        "content-length:\r\n 5\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "x: y\rcontent-length: 5\r\n",
        "x\r: y\r\n",
        "x: y\u{0}z\r\n",
        ": y\r\n",
        "x y: z\r\n",
        "x\r\n",
        "(x): y\r\n",
        "x@y: z\r\n",
        "\u{e9}: y\r\n",
        "x[]: y\r\n",
        "\u{1}: y\r\n",
        "x\u{7f}: y\r\n",
        "x: y\u{1}z\r\n",
        "x: y\u{7f}z\r\n",
        "host: y\r\n",
    ] {
        let body = "abcde";
        case(
            cases,
            format!("header {headers:?}"),
            headers,
            &format!("{body}{HIDDEN}"),
            None,
        );
    }
    for start in [
        "POST  /attacker/measure HTTP/1.1",
        "POST /attacker/measure  HTTP/1.1",
        "POST /attacker/measure HTTP/1.2",
        "POST /attacker/measure HTTP/2.0",
        "POST /attacker/measure HTTP/0.9",
        "POST /attacker/measure",
        "POST /attacker/mea sure HTTP/1.1",
        "POST /attacker/measure HTTP/1.1 x",
        "POST\t/attacker/measure HTTP/1.1",
        "PO(ST /attacker/measure HTTP/1.1",
        "POST /attacker/\u{0} HTTP/1.1",
        " POST /attacker/measure HTTP/1.1",
        "POST /attacker/measure HTTP/1.1\r",
        "POST /attacker/measure http/1.1",
        "POST /attacker/measure HTTP/1,1",
        "POST /attacker/measure HTTP/01.1",
        "POST /attacker/\u{7f} HTTP/1.1",
        "PO\u{0}ST /attacker/measure HTTP/1.1",
        "POST attacker/measure HTTP/1.1",
        "CONNECT /attacker/measure HTTP/1.1",
    ] {
        let bytes = format!("{start}\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde");
        cases.push(Case {
            name: format!("request line {start:?}"),
            bytes: format!("{bytes}{HIDDEN}").into_bytes(),
            body: None,
        });
    }
}

/// Values of Content-Length that are no number.
const BAD_LENGTHS: &[&str] = &[
    "+5",
    "-5",
    "5,",
    ",5",
    "5,6",
    "5, 6",
    "5;6",
    "0x5",
    "5.0",
    "5e0",
    "5 5",
    "five",
    "\u{ff15}",
    "5\u{0}",
    "\u{0}5",
    "5\t6",
    "18446744073709551616",
    "18446744073709551621",
    "99999999999999999999999",
    "4294967296000000000000",
    "'5'",
    "\"5\"",
    "5\u{b}",
    "5\u{c}",
    "0b101",
    "5_0",
    "5L",
    "(5)",
    "5%",
    "#5",
];

/// Values of Transfer-Encoding that are not `chunked` and nothing else.
const BAD_CODINGS: &[&str] = &[
    "xchunked",
    "chunkedx",
    "chunke",
    "identity",
    "gzip",
    "chunked, gzip",
    "chunked, identity",
    "chunked;a=b",
    "\"chunked\"",
    "'chunked'",
    "chunked\u{0}",
    "\u{0}chunked",
    "\u{b}chunked",
    "chunked\u{b}",
    "chunked\u{c}",
    "chun\u{212a}ed",
    "chunked ,",
    "chunked,,",
    "chunked x",
    "x chunked",
    "chunked\u{a0}",
    "cow",
    "deflate, cow",
    "compress",
    "chunked, cow",
    "",
    " ",
    ",",
    "; chunked",
    "chunked/1",
];
