//! What each parser of ours holds to, whatever bytes it is given. A function here panics where it does not.
//!
//! `fuzz_targets/` hands these to libFuzzer, and `tests/it/parsers.rs` runs them over mutated examples in every test run.

use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use tidegate::api::credential::rotation::StepRequest;
use tidegate::domain::graphql::answer::{self, Verdict};
use tidegate::domain::graphql::{Bounds, Kind, request};
use tidegate::domain::hosts::HostPattern;
use tidegate::domain::secret::SecretValue;
use tidegate::domain::websocket::frame::{Piece, Reader, Rules, Violation};
use tidegate::domain::websocket::handshake;
use tidegate::domain::{expression, pause, retry_after};
use tidegate::provider::{jwt, private_key, template};
use tidegate::worker::endpoint::Address;
use tidegate::worker::framing::{Framing, Phase, Refused};
use tidegate::{api, cluster, worker};

/// A claim and examples of what it is about.
pub struct Target {
    /// Its name, as libFuzzer has it.
    pub name: &'static str,
    /// Panics if the claim does not hold of these bytes. Whether they were understood, so that there was something to hold.
    pub check: fn(&[u8]) -> bool,
    /// What mutation begins with.
    pub examples: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "http1_framing",
        check: http1_framing,
        examples: &[
            "\u{3}GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{1}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcdeGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{7}POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
            "\u{5}INVALID CONNECTION PREFACE\r\n\r\n",
            // Digits beyond those that are kept of a line.
            "\u{40}POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
             00000000000000000000000000000000000000000000000000000000000000000000003\r\nabc\r\n0\r\n\r\n",
        ],
    },
    Target {
        name: "websocket_frames",
        check: websocket_frames,
        examples: &[
            "\u{1}\u{5}Hello",
            "\u{2}\u{9}\u{2}hi\u{1}\u{3}abc\u{0}\u{0}",
            "\u{3}\u{8}\u{2}\u{3}\u{68}",
        ],
    },
    Target {
        name: "websocket_handshake",
        check: websocket_handshake,
        examples: &[
            "connection: upgrade\nupgrade: websocket\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\
             sec-websocket-version: 13\norigin: https://a.example",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits\nsec-websocket-protocol: a, b",
        ],
    },
    Target {
        name: "graphql_document",
        check: graphql_document,
        examples: &[
            "query Q($x: [In!]! = [{a: \"}\"}]) @d {x: a(b: $x) {...F ... on T {c}}} # }\nfragment F on T {d {e}}",
            "mutation {a(x: \"\"\"} \\\"\"\" {\"\"\", y: -1.5e3)}",
            "\u{feff}{a} # mutation\rmutation M {b}",
            "{a(x: \"\\\"\") {b}} fragment F on T {...G} fragment G on T {...F}",
        ],
    },
    Target {
        name: "graphql_request",
        check: graphql_request,
        examples: &[
            r#"{"query": "query A {a} mutation B {b}", "operationName": "A", "variables": {"x": [1, {"y": null}]}}"#,
            r#"{"query": "\u006dutation {a(x: \"\\n\")}", "extensions": {"persistedQuery": {"version": 1}}}"#,
            r#"[{"query": "{x: a}"}, {"query": "{b}", "operationName": null}, {}]"#,
        ],
    },
    Target {
        name: "graphql_answer",
        check: graphql_answer,
        examples: &[
            r#"{"data": {"a": [1, {"b": "]}"}]}, "errors": [{"message": "m", "path": ["a"]}]}"#,
            r#"{"errors": [{"extensions": {"code": "FORBIDDEN"}}, {"extensions": {"x": {"code": "Y"}}}], "data": null}"#,
            r#"[{"data": {}}, {"errors": [{}]}]"#,
        ],
    },
    Target {
        name: "caller_target",
        check: caller_target,
        examples: &[
            "/v1/x?y=z",
            "//evil.example/x",
            "/../..//%2e%2e/@evil.example:80",
            "/\\evil.example",
        ],
    },
    Target {
        name: "caller_host",
        check: caller_host,
        examples: &[
            "/\napi.shop",
            "http://api.shop/x\napi.shop:80",
            "*\n[::1]:80",
            "/\nuser@api",
        ],
    },
    Target {
        name: "provider_pause",
        check: provider_pause,
        examples: &[
            "retry-after: 30",
            "retry-after: Wed, 21 Oct 2026 07:28:00 GMT",
            "ratelimit: \"burst\";r=0;t=30\nratelimit-policy: \"burst\";q=100;w=60",
            "ratelimit: limit=100, remaining=0, reset=30",
            "ratelimit-limit: 10\nratelimit-remaining: 0\nratelimit-reset: 99999999999999999999",
        ],
    },
    Target {
        name: "api_values",
        check: api_values,
        examples: &[
            "1h30m",
            "250ms",
            "10Mi",
            "1000",
            "*.example.org:443",
            "[::1]",
            "99999h99999h99999h99999h",
        ],
    },
    Target {
        name: "manifests",
        check: manifests,
        examples: &[
            "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {name: a, namespace: b}\nspec:\n  endpoints: \
             [{name: primary, url: 'http://127.0.0.1:1'}]\n",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {key: |\n  x}\n---\n{\"kind\": \"List\"}",
            "a: &a [*a, *a]\nb: !!binary x\n? {c: d}\n: - e\n",
        ],
    },
    Target {
        name: "step_templates",
        check: step_templates,
        examples: &[
            "plain-id\n{\"a\": \"{{ value }}\"}",
            "a/../b?c#d\n{\"list\": [\"{{id}}\", \"{{ attempt.id }}\"]}",
            "\"},{\"x\":\"\n{\"a\": \"{{ id }}\"}",
            "%2f%00\r\n\nplain {{ value }}",
        ],
    },
    Target {
        name: "expressions",
        check: expressions,
        examples: &[
            "status == 200 && body.ok",
            "headers['x'].startsWith('a') || certificate.subject != ''",
            "[1,2,3].all(x, x > 0)",
        ],
    },
    Target {
        name: "keys",
        check: keys,
        examples: &[
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "{\"keys\":[{\"id\":\"a\",\"private\":\"x\",\"issued\":\"2026-01-01T00:00:00Z\"}]}",
        ],
    },
];

/// Bytes are read in the same way in whatever pieces they come, and nothing passes after a refusal. The first byte is the
/// size of the pieces.
pub fn http1_framing(data: &[u8]) -> bool {
    let Some((size, stream)) = data.split_first() else {
        return false;
    };
    let whole = read_framing(stream, stream.len().max(1));
    let pieces = read_framing(stream, usize::from(*size).max(1));
    assert_eq!(whole, pieces, "it matters in which pieces it comes");
    whole.1.is_some()
}

/// How much was passed on, and in which phase it ended; `None`: refused.
fn read_framing(stream: &[u8], size: usize) -> (Option<usize>, Option<Phase>) {
    let mut framing = Framing::default();
    let mut passed = 0;
    for piece in stream.chunks(size) {
        let mut piece = piece.to_vec();
        match framing.read(&mut piece) {
            Ok(()) => passed += piece.len(),
            Err(Refused::Ambiguous(end)) => {
                assert_eq!(piece[end - 1], 0, "what is refused is spoilt");
                let more = framing.read(&mut [b'G']);
                assert_eq!(more, Err(Refused::Ambiguous(1)), "nothing passes after it");
                return (Some(passed + end), None);
            }
            // How much of it had been passed on depends on the pieces.
            Err(Refused::Foreign) => return (None, None),
        }
    }
    (Some(passed), Some(framing.phase()))
}

const GRAPHQL: Bounds = Bounds { depth: 8, aliases: 8 };

/// What is taken for a query has no other definition than queries and fragments, by a reader that knows nothing but where
/// strings and comments end.
pub fn graphql_document(data: &[u8]) -> bool {
    let read = request::bare(data, None, &GRAPHQL);
    if read == Ok(Kind::Query) {
        let mut depth = 0_u32;
        let mut begins = true;
        for word in graphql_words(data) {
            match word {
                b"{" | b"(" | b"[" => (depth, begins) = (depth + 1, false),
                b"}" | b")" | b"]" => {
                    depth -= 1;
                    begins = depth == 0 && word == b"}";
                }
                word if begins => {
                    assert!([b"query".as_slice(), b"fragment", b"\""].contains(&word), "{word:?}");
                    // A description stands before a definition.
                    begins = word == b"\"";
                }
                _ => {}
            }
        }
    }
    read.is_ok()
}

/// Names, brackets and strings, of which the first quote is left.
fn graphql_words(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    while let Some(first) = rest.first() {
        let mut length = 1;
        if rest.starts_with(b"\"\"\"") {
            words.push(&rest[..1]);
            length = 3;
            while !rest[length..].starts_with(b"\"\"\"") {
                length += if rest[length..].starts_with(b"\\\"\"\"") { 4 } else { 1 };
            }
            length += 3;
        } else if *first == b'"' {
            words.push(&rest[..1]);
            while rest[length] != b'"' {
                length += if rest[length] == b'\\' { 2 } else { 1 };
            }
            length += 1;
        } else if *first == b'#' {
            length = rest
                .iter()
                .position(|byte| b"\r\n".contains(byte))
                .unwrap_or(rest.len());
        } else if is_name(first) {
            length = rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len());
            words.push(&rest[..length]);
        } else if b"{}()[]".contains(first) {
            words.push(&rest[..1]);
        }
        rest = &rest[length..];
    }
    words
}

/// A request is what its document is, read by another reader of JSON.
pub fn graphql_request(data: &[u8]) -> bool {
    let read = request::json(data, None, &GRAPHQL);
    let (Ok(kind), Ok(value)) = (&read, serde_json::from_slice::<serde_json::Value>(data)) else {
        return read.is_ok();
    };
    let one = |one: &serde_json::Value| match one["query"].as_str() {
        Some(query) => request::bare(query.as_bytes(), one["operationName"].as_str(), &GRAPHQL).unwrap(),
        None => Kind::Unknown,
    };
    let expected = match value.as_array() {
        Some(batch) => batch.iter().map(one).max(),
        None => Some(one(&value)),
    };
    assert_eq!(Some(*kind), expected);
    true
}

/// A verdict does not depend on the pieces, and is that of a reader that has all of it.
pub fn graphql_answer(data: &[u8]) -> bool {
    let mut whole = answer::Reader::default();
    whole.read(data);
    let mut pieces = answer::Reader::default();
    for piece in data.chunks(3) {
        pieces.read(piece);
    }
    let verdict = whole.finish();
    assert_eq!(verdict, pieces.finish());
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else {
        return false;
    };
    // A member that is there twice, or is written with escapes, is read in more than one way.
    let text = String::from_utf8_lossy(data);
    let twice = |name: &str| text.matches(name).count() > 1;
    if !value.is_object() || text.contains('\\') || ["\"data\"", "\"errors\""].into_iter().any(twice) {
        return false;
    }
    let errors = value["errors"].as_array().map_or(0, Vec::len);
    let expected = match (errors, value["data"].is_null()) {
        (0, _) => Verdict::Clean,
        (_, true) => Verdict::WithoutData,
        (_, false) => Verdict::Partial,
    };
    assert!(
        verdict == expected || (errors > 0 && verdict == Verdict::Caller),
        "{verdict:?}"
    );
    true
}

/// Frames are read in the same way in whatever pieces they come; what is passed on is what came; a limit holds. The first
/// byte has the rules and the size of the pieces.
pub fn websocket_frames(data: &[u8]) -> bool {
    let Some((first, stream)) = data.split_first() else {
        return false;
    };
    let rules = Rules {
        masked: first & 1 == 1,
        deflate: first & 2 == 2,
        limit: 1000,
    };
    let whole = read_frames(rules, stream, stream.len().max(1));
    let pieces = read_frames(rules, stream, usize::from(first >> 2).max(1));
    assert_eq!(whole.violation, pieces.violation);
    assert_eq!(whole.control, pieces.control);
    // In pieces some of a frame may have been passed on before it turns out to be wrong.
    if whole.violation.is_none() {
        assert_eq!(whole.data, pieces.data);
        assert!(stream.starts_with(&whole.data) || !whole.control.is_empty());
    }
    whole.violation.is_none()
}

#[derive(Default)]
struct Frames {
    data: Vec<u8>,
    control: Vec<(u8, Vec<u8>)>,
    violation: Option<Violation>,
}

fn read_frames(rules: Rules, stream: &[u8], size: usize) -> Frames {
    let mut reader = Reader::new(rules);
    let mut frames = Frames::default();
    for mut input in stream.chunks(size) {
        loop {
            match reader.read(&mut input) {
                Ok(Some(Piece::Data { bytes, .. })) => frames.data.extend_from_slice(bytes),
                Ok(Some(Piece::Control { opcode, payload, .. })) => {
                    assert!(payload.len() <= 125);
                    frames.control.push((opcode, payload.to_vec()));
                }
                Ok(None) => break,
                Err(violation) => {
                    frames.violation = Some(violation);
                    return frames;
                }
            }
        }
        assert!(input.is_empty(), "more is asked for while there is some");
    }
    frames
}

/// Whatever a caller's headers say, checking them ends, and what is asked of the provider is a whole handshake.
pub fn websocket_handshake(data: &[u8]) -> bool {
    let mut headers = headers(data);
    let checked = handshake::check(&Method::GET, Version::HTTP_11, &headers);
    let _ = handshake::origin(&headers, "a.example", ["b.example"]);
    let key = headers.get("sec-websocket-key").cloned();
    let (Ok(()), Some(key)) = (checked, key) else {
        return false;
    };
    handshake::ask(&mut headers, key.clone());
    assert_eq!(headers.get("sec-websocket-key"), Some(&key));
    assert_eq!(headers.get_all("upgrade").iter().count(), 1);
    true
}

/// Lines `name: value`, those that are none left out.
fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// No target of a caller leads to another host, scheme or base than the endpoint's.
pub fn caller_target(data: &[u8]) -> bool {
    let Ok(target) = PathAndQuery::try_from(data) else {
        return false;
    };
    for url in ["https://api.example:8443/base", "http://[::1]/"] {
        let Ok(address) = Address::parse("e", url) else {
            panic!("{url}")
        };
        let Some(uri) = address.join(&target).and_then(|target| address.with(target)) else {
            continue;
        };
        assert_eq!(uri.authority(), Some(&address.authority));
        assert_eq!(uri.scheme(), Some(&address.scheme));
        assert!(uri.path().starts_with(&address.base));
    }
    true
}

/// What is taken for the host of a request has no user, and the `Host` header does not contradict it. First line: the
/// target; the others: `Host` headers.
pub fn caller_host(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut request = Request::builder().uri(target);
    let mut hosts = Vec::new();
    for host in lines.take(3) {
        request = request.header("host", host);
        hosts.push(host);
    }
    let Ok(request) = request.body(()) else { return false };
    let Ok(host) = worker::asked::host(&request) else {
        return false;
    };
    assert!(!host.contains('@') && !host.is_empty());
    assert!(hosts.len() <= 1, "of two hosts one was chosen");
    assert!(hosts.iter().all(|line| host.as_bytes().eq_ignore_ascii_case(line)));
    true
}

/// Whatever a provider's headers ask for, it is a time that can be added to now.
pub fn provider_pause(data: &[u8]) -> bool {
    let headers = headers(data);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let bound = Duration::from_secs(u64::from(u32::MAX) * 100);
    let waits = [
        retry_after::wait(&headers, now),
        pause::asked(StatusCode::OK, &headers, 3, now),
        pause::asked(StatusCode::TOO_MANY_REQUESTS, &headers, 3, now),
    ];
    assert!(waits.into_iter().flatten().all(|wait| wait <= bound), "{waits:?}");
    waits.iter().any(Option::is_some)
}

/// A value that is understood is written so that it is understood as the same; and no wildcard allows an address.
pub fn api_values(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let (duration, size) = (
        text.parse::<api::duration::Duration>(),
        text.parse::<api::quantity::Bytes>(),
    );
    let pattern = text.parse::<HostPattern>();
    if let Ok(value) = &duration {
        let again = value.to_string().parse::<api::duration::Duration>();
        // What is written is in the largest units, whose digits may be too many to be read: `99999h` four times.
        assert!(again.is_ok_and(|again| again == *value) || value.0 > Duration::from_secs(99_999 * 3600));
    }
    if let Ok(value) = &size {
        let again = value.to_string().parse::<api::quantity::Bytes>();
        assert!(again.is_ok_and(|again| again == *value) || value.0 > 9_999_999_999);
    }
    if let Ok(pattern) = &pattern {
        let addresses = ["127.0.0.1", "::1"];
        assert!(!text.starts_with('*') || !addresses.iter().any(|address| pattern.allows(address, 443)));
        assert!(!pattern.allows("", 443) && !pattern.allows("evil.example/", 443));
    }
    duration.is_ok() || size.is_ok() || pattern.is_ok()
}

/// A file is read to its end, and every problem is told of a line of it.
pub fn manifests(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let lines = text.lines().count() as u64;
    let reading = cluster::files::manifest::read(text);
    for problem in &reading.problems {
        assert!(problem.line.is_none_or(|line| line <= lines + 1), "{problem:?}");
        assert!(problem.message.len() < 10_000);
    }
    !reading.objects.is_empty()
}

/// Whatever a provider calls its key, it stays where the template puts it: in its segment of the path, in its parameter, in
/// its string of the body. First line: the id, which is the value as well; the rest: the template of the body.
pub fn step_templates(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let (id, body) = text.split_once('\n').unwrap_or((text, ""));
    let value = SecretValue::new(id);
    let json = serde_json::json!({
        "method": "POST",
        "url": "https://api.example/keys/{{ id }}/x?key={{ value }}",
        "body": body,
    });
    let Ok(request) = serde_json::from_value::<StepRequest>(json) else {
        return false;
    };
    let known = template::Known {
        attempt_id: Some("0123"),
        value: Some(&value),
        id: Some(id),
        previous_value: Some(&value),
        previous_id: Some(id),
    };
    let Ok(rendered) = template::render(template::Step::Test, &request, known) else {
        return false;
    };
    let url = &rendered.url;
    assert_eq!(
        (url.scheme(), url.host_str(), url.port()),
        ("https", Some("api.example"), None)
    );
    let segments: Vec<_> = url.path().split('/').collect();
    assert_eq!(
        (segments.len(), segments[1], segments[3]),
        (4, "keys", "x"),
        "{}",
        url.path()
    );
    assert_eq!(url.query_pairs().count(), 1);
    assert_eq!(
        url.query_pairs().next().map(|(_, sent)| sent.into_owned()).as_deref(),
        Some(id)
    );
    assert!(url.fragment().is_none());
    // A body that is JSON with a harmless value is JSON of the same shape with this one.
    let plain = SecretValue::new("x");
    let harmless = template::Known {
        value: Some(&plain),
        id: Some("x"),
        previous_value: Some(&plain),
        previous_id: Some("x"),
        ..known
    };
    if let Ok(harmless) = template::render(template::Step::Test, &request, harmless) {
        let shape = |rendered: &template::Rendered| {
            let body = rendered.body.as_ref()?;
            let json: serde_json::Value = serde_json::from_str(body.expose()).ok()?;
            Some(shape(&json))
        };
        if let Some(wanted) = shape(&harmless) {
            assert_eq!(shape(&rendered), Some(wanted));
            return true;
        }
    }
    false
}

/// How many lists, objects and entries there are, and of which kind each is; texts and keys left out.
fn shape(json: &serde_json::Value) -> String {
    match json {
        serde_json::Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        serde_json::Value::Object(fields) => {
            format!("{{{}}}", fields.values().map(shape).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::String(_) => "s".to_owned(),
        _ => "v".to_owned(),
    }
}

/// An expression compiles or is refused; it never ends the process.
pub fn expressions(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| expression::compile(text).is_ok())
}

/// A key is read or refused, and no message repeats a part of it.
pub fn keys(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let text = SecretValue::new(text);
    let read = private_key::read(&text);
    if let Err(error) = &read {
        assert!(error.to_string().len() < 500);
    }
    jwt::keys::Keys::read(&text).is_some() || read.is_ok()
}
