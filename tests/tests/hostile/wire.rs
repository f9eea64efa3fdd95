//! H2, H3, H4: guests that lie about their answer, and clients that pretend to be the platform.

use std::time::Duration;

use reqwest::Method;

use super::arena::Arena;
use super::raw::talk;

const PATIENCE: Duration = Duration::from_secs(3);

/// H2. Lengths that are not true. Behind each on the same connection goes a second request, which must get its own answer
/// if it gets any: what a guest says must never shift the border between two answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_lie_about_length() {
    let arena = Arena::with_attacker(&["--timeout", "2s"]).await;
    let lies = [
        ("said=5&written=3", 3),
        ("said=3&written=5", 5),
        ("said=0&written=5", 5),
        ("said=5&written=0", 0),
        ("said=5,6&written=5", 5),
        ("said=5,5&written=5", 5),
        ("said=-1&written=5", 5),
        ("said=+5&written=5", 5),
        ("said=x&written=5", 5),
        ("said=18446744073709551616&written=5", 5),
        ("said=5&written=5&chunked=1", 5),
        ("said=5&written=2&unfinished=1", 2),
        ("said=&written=5&unfinished=1", 5),
        ("said=5&written=9&chunked=1", 9),
        ("said=&written=5&unfinished=1&unflushed=1", 5),
        ("said=&written=5&open=1&unflushed=1", 5),
    ];
    let (whole, cut) = arena
        .endures("H2", async || {
            let (mut whole, mut cut) = (0, 0);
            for (lie, written) in lies {
                let two = format!(
                    "GET /attacker/lie?{lie} HTTP/1.1\r\nhost: x\r\n\r\nGET /bystander HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                );
                let talk = talk(&arena.platform.functions, two.as_bytes(), PATIENCE).await;
                let answers = split(&talk.text).unwrap_or_else(|| panic!("{lie}: the framing does not hold: {talk:?}"));
                assert!(talk.closed, "{lie}: {talk:?}");
                match answers.as_slice() {
                    [first, second] => {
                        assert!(first.1 == "w".repeat(written) || first.0 >= 500, "{lie}: {talk:?}");
                        assert_eq!(second.0, 200, "{lie}: the second request's own answer: {talk:?}");
                        assert!(!second.1.contains("ww"), "{lie}: {talk:?}");
                        whole += 1;
                    }
                    // An answer that broke off takes the connection with it.
                    [] | [_] => cut += 1,
                    _ => panic!("{lie}: more answers than requests: {talk:?}"),
                }
            }
            Ok((whole, cut))
        })
        .await;
    Arena::report(
        "H2",
        &format!(
            "{} lies about the length of an answer, a second request behind each",
            lies.len()
        ),
        &format!("{whole} second requests with their own answer, {cut} connections cut with the first, 0 mixed up"),
        "0",
    );
}

/// H2 once more: a guest that leaves its answer open, in an instance that goes on to serve others. Its end is the answer's
/// end, also where a large guest is let go of elsewhere and that has to be waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_left_open() {
    const EACH: usize = 20;
    let arena = Arena::with_attacker(&["--isolation", "function"]).await;
    for number in 0..2 * EACH {
        let mib = if number < EACH { 1 } else { 20 };
        let grown = arena.platform.get(&format!("/attacker/memory?mib={mib}")).await;
        assert_eq!(grown.status, 200, "{}", grown.text());
        let left_open = "/attacker/lie?said=&written=5&open=1&unflushed=1";
        let answer = arena.platform.get(left_open).await;
        assert_eq!(answer.header("mayfly-start"), "warm");
        assert_eq!((answer.status, answer.text()), (200, "wwwww".to_owned()), "{mib} MiB");
    }
    Arena::report(
        "H2",
        &format!(
            "{} answers that are left open, half of them by a guest of 20 MiB",
            2 * EACH
        ),
        "all ended with their guest, with all that was written",
        "all",
    );
}

/// The statuses and bodies of all answers, by their framing alone; `None` if that does not come out even. The last one may
/// be cut off, and is left out then.
fn split(mut text: &str) -> Option<Vec<(u16, String)>> {
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
        };
        let (body, after) = match header("content-length") {
            Some(length) => {
                let length = length.parse().ok()?;
                match rest.split_at_checked(length) {
                    Some(parts) => (parts.0.to_owned(), parts.1),
                    None => return Some(answers),
                }
            }
            None if header("transfer-encoding") == Some("chunked") => match chunked(rest) {
                Some(parts) => parts,
                None => return Some(answers),
            },
            None => (String::new(), rest),
        };
        answers.push((status, body));
        text = after;
    }
    Some(answers)
}

fn chunked(mut text: &str) -> Option<(String, &str)> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        body.push_str(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix("\r\n")?;
        if size == 0 {
            return Some((body, text));
        }
    }
}

/// H3. Every control character in header names and values of a guest's answer, in front, in the middle and at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_splitting() {
    let arena = Arena::with_attacker(&[]).await;
    let bytes = (0..=0x1f_u8).chain([0x7f, b' ', b':']);
    let places = ["name", "value"];
    let places = places.into_iter().flat_map(|place| [0, 3, 6].map(|at| (place, at)));
    let cases: Vec<_> = bytes
        .flat_map(|byte| places.clone().map(move |(place, at)| (byte, place, at)))
        .collect();
    let (refused, taken) = arena
        .endures("H3", async || {
            let (mut refused, mut taken) = (0, Vec::new());
            for (byte, place, at) in &cases {
                match make_header(&arena, *byte, place, *at).await {
                    true => taken.push((*byte, *place, *at)),
                    false => refused += 1,
                }
            }
            Ok((refused, taken))
        })
        .await;
    for (byte, place, at) in &taken {
        // A tab and a space are allowed inside of a value, a colon all over it.
        assert!(
            *place == "value" && [b'\t', b' ', b':'].contains(byte),
            "0x{byte:02x} in a {place} at {at}"
        );
    }
    Arena::report(
        "H3",
        &format!("{} header names and values with control characters", cases.len()),
        &format!(
            "{refused} refused, {} harmless ones taken, 0 headers more on the wire",
            taken.len()
        ),
        "0",
    );
}

/// Whether the guest was let put that byte there; checks what came over the wire.
async fn make_header(arena: &Arena, byte: u8, place: &str, at: usize) -> bool {
    const KNOWN: [&str; 7] = [
        "x-name",
        "x-value",
        "mayfly-",
        "date",
        "content-length",
        "transfer-encoding",
        "connection",
    ];
    let path = format!("/attacker/make-header?place={place}&byte={byte}&at={at}");
    let get = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let talk = talk(&arena.platform.functions, get.as_bytes(), PATIENCE).await;
    let (head, body) = talk.text.split_once("\r\n\r\n").expect("an answer");
    for line in head.split("\r\n").skip(1) {
        let is_known = KNOWN.iter().any(|name| line.to_lowercase().starts_with(name));
        assert!(is_known, "{path}: {line:?} of {talk:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{path}: {talk:?}");
    }
    !body.contains("refused")
}

/// H4. Headers that only the platform may set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spoofed_headers() {
    const SPOOFED: &str = "10.9.8.7";
    let names = [
        "forwarded",
        "Forwarded",
        "x-forwarded-for",
        "X-FORWARDED-FOR",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-client-cert",
        "x-forwarded-anything",
        "mayfly-invocation-id",
        "Mayfly-Start",
        "mayfly-namespace",
        "mayfly-",
        "mayfly-token",
    ];
    let arena = Arena::with_attacker(&[]).await;
    arena.platform.deploy("misbehave-event", &["--name", "event"]).await;
    let seen = arena
        .endures("H4", async || {
            let mut seen = 0;
            for name in names {
                for path in ["/attacker/headers", "/event/echo"] {
                    let request = arena.platform.request(Method::POST, path);
                    let answer = request
                        .header(name, SPOOFED)
                        .header(name, format!("for={SPOOFED}"))
                        .send()
                        .await;
                    let text = answer.expect("the server answers").text().await.expect("complete");
                    assert!(text.contains("accept"), "{path} shows what it got: {text}");
                    seen += usize::from(text.contains(SPOOFED));
                    assert_eq!(seen, 0, "{name} came through to {path}: {text}");
                }
            }
            Ok(seen)
        })
        .await;
    Arena::report(
        "H4",
        &format!(
            "{} spoofed headers, twice each, for two kinds of functions",
            names.len()
        ),
        &format!("{seen} seen"),
        "0",
    );
}
