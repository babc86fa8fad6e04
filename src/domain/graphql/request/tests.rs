use super::*;

const BOUNDS: Bounds = Bounds { depth: 8, aliases: 10 };

fn of(body: &str) -> Result<Kind, Refusal> {
    json(body.as_bytes(), None, &BOUNDS)
}

#[test]
fn a_body_of_json_is_what_its_query_is() {
    for (body, expected) in [
        (r#"{"query": "{a}"}"#, Kind::Query),
        (r#"{"query": "mutation {a}"}"#, Kind::Mutation),
        (r#"{"query": "subscription {a}"}"#, Kind::Subscription),
        (
            r#"{"query": "{a}", "operationName": null, "variables": {"query": "mutation {a}"}}"#,
            Kind::Query,
        ),
        (
            r#"{"operationName": "B", "query": "query A {a} mutation B {b}"}"#,
            Kind::Mutation,
        ),
        (
            r#"{"query": "query A {a} mutation B {b}", "operationName": "A"}"#,
            Kind::Query,
        ),
        (r#"{"query": "query A {a} mutation B {b}"}"#, Kind::Unknown),
        // Escapes are those of JSON.
        (r#"{"qu\u0065ry": "\u006dutation {a}"}"#, Kind::Mutation),
        (r##"{"query": "# \u007b\nmutation {a}"}"##, Kind::Mutation),
        (r##"{"query": "#\r{a(x: \"\\\"\")}"}"##, Kind::Query),
        ("\u{feff} {\"query\": \"\u{feff}{a}\"} ", Kind::Query),
        // The provider has the document.
        (
            r#"{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "00"}}}"#,
            Kind::Unknown,
        ),
        (r#"{"query": null, "id": "1"}"#, Kind::Unknown),
        ("{}", Kind::Unknown),
        (r#"{"query": "{a}", "extensions": {"persistedQuery": {}}}"#, Kind::Query),
        // Of a batch the worst counts.
        (r#"[{"query": "{a}"}, {"query": "{b}"}]"#, Kind::Query),
        (
            r#"[{"query": "{a}"}, {"query": "mutation {b}"}, {"query": "{c}"}]"#,
            Kind::Mutation,
        ),
        (r#"[{"query": "mutation {a}"}, {}]"#, Kind::Unknown),
    ] {
        assert_eq!(of(body), Ok(expected), "{body}");
    }
}

#[test]
fn what_two_readers_may_read_differently_is_refused() {
    for (body, name) in [
        (r#"{"query": "{a}", "query": "mutation {a}"}"#, "query"),
        (r#"{"query": "{a}", "qu\u0065ry": "{a}"}"#, "query"),
        (r#"{"query": "{a}", "Query": "mutation {a}"}"#, "query"),
        (r#"{"QUERY": "mutation {a}"}"#, "query"),
        (
            r#"{"query": "query A {a} mutation B {b}", "operationName": "A", "operationName": "B"}"#,
            "operationName",
        ),
        (
            r#"{"query": "query A {a} mutation B {b}", "operationName": "A", "operationname": "B"}"#,
            "operationName",
        ),
        (r#"[{"query": "{a}"}, {"query": "{a}", "query": null}]"#, "query"),
    ] {
        assert_eq!(of(body), Err(Refusal::Twice(name)), "{body}");
    }
    for text in ["query=%7Ba%7D&query=mutation", "query=a&%71uery=b"] {
        assert_eq!(
            Parameters::read(text.as_bytes()),
            Err(Refusal::Twice("query")),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_operation_is_refused() {
    for body in [
        "",
        "null",
        "1",
        "\"{a}\"",
        "{",
        "{\"query\": 1}",
        "{\"query\": [\"{a}\"]}",
        "{\"query\": \"{a}\"} {}",
        "{\"query\": \"\\ud800\"}",
        "{'query': 1}",
        "[1]",
        "[[{}]]",
        "[{}",
        "{\"query\": \"{a}\", \"operationName\": 1}",
    ] {
        assert_eq!(of(body), Err(Refusal::NotJson), "{body}");
    }
    assert_eq!(json(b"{\"query\": \"\xff\"}", None, &BOUNDS), Err(Refusal::NotJson));
    assert_eq!(of("[]"), Err(Refusal::Empty));
    assert_eq!(of(r#"{"query": "\n{"}"#), Err(Refusal::NotGraphQl { line: 2 }));
    assert_eq!(bare(b"{a}\n\xff", None, &BOUNDS), Err(Refusal::NotGraphQl { line: 2 }));
}

#[test]
fn deep_json_overflows_no_stack() {
    let many = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(many), close.repeat(many));
        assert_eq!(
            of(&format!("{{\"variables\": {deep}, \"query\": \"{{a}}\"}}")),
            Ok(Kind::Query)
        );
        assert!(of(&deep).is_err() || open != "[");
    }
}

#[test]
fn a_batch_counts_as_aliases_do() {
    let batch =
        |count: usize, query: &str| format!("[{}]", vec![format!("{{\"query\": \"{query}\"}}"); count].join(","));
    assert_eq!(of(&batch(11, "{a}")), Ok(Kind::Query));
    assert_eq!(
        of(&batch(12, "query Q {a}")).unwrap_err().to_string(),
        "with the operation `Q` there are 11 aliases, and `graphql.maxAliases` is 10"
    );
    assert_eq!(of(&batch(5, "{x: a}")), Ok(Kind::Query));
    assert!(matches!(
        of(&batch(6, "{x: a}")),
        Err(Refusal::TooManyAliases { aliases: 11, .. })
    ));
    assert!(matches!(
        of(&format!("[{}{{}}]", "{},".repeat(1_000_000))),
        Err(Refusal::TooManyAliases { aliases: 11, .. })
    ));
    let wide = format!("{{{}}}", "x: a ".repeat(11));
    assert!(matches!(
        bare(wide.as_bytes(), None, &BOUNDS),
        Err(Refusal::TooManyAliases { aliases: 11, .. })
    ));
}

#[test]
fn a_name_in_the_url_may_count_or_not() {
    let body = br#"{"query": "query A {a} mutation B {b}", "operationName": "A"}"#;
    assert_eq!(json(body, Some("B"), &BOUNDS), Ok(Kind::Mutation));
    assert_eq!(json(body, Some("A"), &BOUNDS), Ok(Kind::Query));
    assert_eq!(
        json(br#"{"query": "query A {a}"}"#, Some("A"), &BOUNDS),
        Ok(Kind::Query)
    );
    assert_eq!(
        json(br#"{"query": "query A {a}"}"#, Some("other"), &BOUNDS),
        Ok(Kind::Unknown)
    );
    assert_eq!(
        bare(b"query A {a} mutation B {b}", Some("B"), &BOUNDS),
        Ok(Kind::Mutation)
    );
}

#[test]
fn parameters_are_decoded_as_forms_are() {
    let kind = |text: &str| Parameters::read(text.as_bytes()).unwrap().kind(&BOUNDS);
    assert_eq!(kind("a=1"), Ok(None));
    assert_eq!(kind("extensions=%7B%22persistedQuery%22%3A%7B%7D%7D"), Ok(None));
    assert_eq!(kind("query=%7Ba%7D&variables=%7B%7D"), Ok(Some(Kind::Query)));
    assert_eq!(kind("query=mutation+%7Ba%7D"), Ok(Some(Kind::Mutation)));
    assert_eq!(
        kind("query=query+A%7Ba%7D+mutation+B%7Bb%7D&operationName=B"),
        Ok(Some(Kind::Mutation))
    );
    assert_eq!(kind("query="), Err(Refusal::NotGraphQl { line: 1 }));
}
