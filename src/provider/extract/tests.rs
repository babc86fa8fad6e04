use super::*;

fn around() -> Around {
    Around {
        attempt_id: "attempt-1".into(),
        now: Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

fn extract(value: &str, id: Option<&str>, expires_at: Option<&str>) -> Extract {
    Extract {
        value: value.into(),
        id: id.map(Into::into),
        expires_at: expires_at.map(Into::into),
    }
}

async fn value(filter: &str, answer: &str) -> Result<String, String> {
    let extract = extract(filter, None, None);
    if let Some(violation) = check(&extract).pop() {
        return Err(violation.to_string());
    }
    let got = minted(&extract, &SecretValue::new(answer), around()).await;
    got.map(|got| got.value.expose().to_owned())
        .map_err(|error| error.to_string())
}

async fn found_ids(filter: &str, answer: &str) -> Result<Vec<String>, String> {
    let extract = FindExtract { ids: filter.into() };
    if let Some(violation) = check_find(&extract).pop() {
        return Err(violation.to_string());
    }
    let got = ids(&extract, &SecretValue::new(answer), around()).await;
    got.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_value_is_found_wherever_providers_put_it() {
    for (filter, answer) in [
        (".key", r#"{"key": "k"}"#),
        (".", r#""k""#),
        (
            ".data.attributes[\"api-key\"]",
            r#"{"data": {"attributes": {"api-key": "k"}}}"#,
        ),
        (".keys[0].secret", r#"{"keys": [{"secret": "k"}, {"secret": "l"}]}"#),
        (".keys[-1].secret", r#"{"keys": [{"secret": "l"}, {"secret": "k"}]}"#),
        (".key // .token", r#"{"token": "k"}"#),
        (
            ".keys[] | select(.name == \"new\") | .secret",
            r#"{"keys": [{"name": "old"}, {"name": "new", "secret": "k"}]}"#,
        ),
        (
            "first(.keys[] | select(.on).secret)",
            r#"{"keys": [{"on": true, "secret": "k"}, {"on": true, "secret": "l"}]}"#,
        ),
        ("if .type == \"a\" then .a else .b end", r#"{"type": "a", "a": "k"}"#),
        ("\"\\(.a)\\(.b)\"", r#"{"a": "", "b": "k"}"#),
        (".a + .b", r#"{"a": "k", "b": ""}"#),
        (".a | split(\":\") | .[1]", r#"{"a": "x:k"}"#),
        ("[.. | strings] | .[0]", r#"{"a": {"b": ["k"]}}"#),
        (".a? // \"k\"", "[]"),
        (
            "to_entries | map(select(.value.new)) | first | .key",
            r#"{"k": {"new": true}}"#,
        ),
    ] {
        assert_eq!(value(filter, answer).await, Ok("k".to_owned()), "{filter}");
    }
}

#[tokio::test]
async fn ids_and_times_are_read_in_the_ways_providers_write_them() {
    let all = extract(".v", Some(".id"), Some(".e"));
    for (answer, id, expires_at) in [
        (
            r#"{"v": "k", "id": "a", "e": "2027-01-01T00:00:00Z"}"#,
            "a",
            Some(1_798_761_600),
        ),
        (
            r#"{"v": "k", "id": 12345678901, "e": 1798761600}"#,
            "12345678901",
            Some(1_798_761_600),
        ),
        (r#"{"v": "k", "id": 1, "e": 1798761600.9}"#, "1", Some(1_798_761_600)),
        (r#"{"v": "k", "id": 1, "e": "1798761600"}"#, "1", Some(1_798_761_600)),
        (
            r#"{"v": "k", "id": 18446744073709551615, "e": null}"#,
            "18446744073709551615",
            None,
        ),
    ] {
        let got = minted(&all, &SecretValue::new(answer), around()).await.unwrap();
        assert_eq!(got.id.as_deref(), Some(id), "{answer}");
        assert_eq!(got.expires_at.map(Timestamp::as_second), expires_at, "{answer}");
    }
    let lifetime = extract(".v", None, Some("now + .expires_in"));
    assert_eq!(check(&lifetime), []);
    let answer = SecretValue::new(r#"{"v": "k", "expires_in": 60}"#);
    let got = minted(&lifetime, &answer, around()).await.unwrap();
    assert_eq!(got.expires_at.unwrap().as_second(), 1_700_000_060);
}

#[tokio::test]
async fn ids_are_outputs_or_one_list() {
    let answer = r#"{"keys": [{"id": 1, "label": "attempt-1"}, {"id": "b", "label": "x"}]}"#;
    for (filter, expected) in [
        (".keys[].id", &["1", "b"][..]),
        ("[.keys[].id]", &["1", "b"]),
        (".keys[] | select(.label == $attempt.id) | .id", &["1"]),
        ("empty", &[]),
        ("[]", &[]),
    ] {
        assert_eq!(found_ids(filter, answer).await.unwrap(), expected, "{filter}");
    }
    for filter in [
        ".keys",
        ".keys[]",
        ".missing",
        "[[1]]",
        ".keys[].missing",
        "1.5",
        "\"\"",
    ] {
        let error = found_ids(filter, answer).await.unwrap_err();
        assert!(
            error.starts_with("`spec.rotation.steps.find.extract.ids` must"),
            "{filter}: {error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_found_names_the_field_and_nothing_of_the_answer() {
    for (filter, answer) in [
        (".key", r#"{"canary": "canary"}"#),
        (".key", r#"{"key": ["canary"]}"#),
        (".key", r#"{"key": ""}"#),
        (".key", r#"{"key": "canary\r\nx"}"#),
        (".key", r#"{"key": " canary"}"#),
        (".key", r#"{"key": "canäry"}"#),
        (".key", r#"["canary"]"#),
        (".canary[]", r#"{"canary": ["a", "b"]}"#),
        ("empty", r#""canary""#),
    ] {
        let error = value(filter, answer).await.unwrap_err();
        assert!(
            error.starts_with("`spec.rotation.steps.create.extract.value` must"),
            "{error}"
        );
        assert!(!error.contains("can"), "{filter}: {error}");
    }
    let long = format!(r#"{{"key": "{}"}}"#, "a".repeat(VALUE_MAX + 1));
    value(".key", &long).await.unwrap_err();
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_refused() {
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("\"{}\"", "a".repeat(ANSWER_MAX));
    for answer in ["", "<html>", "{\"a\": NaN}", "{} {}", "# jq\n1", &nested, &large] {
        let error = value(".", answer).await.unwrap_err();
        assert!(error.starts_with("the answer is not JSON"), "{error}");
    }
}

#[test]
fn what_might_not_end_or_reach_out_is_refused() {
    let long = format!(".{}", " ".repeat(TEXT));
    let many = ["."; 70].join("|");
    let doubling = ["(.,.)"; 7].join("|");
    for text in [
        "range(infinite)",
        "repeat(.)",
        "recurse",
        "recurse(.a)",
        "def f: f; f",
        "last(range(1e9))",
        "until(false; .)",
        "while(true; .)",
        "limit(3; .[])",
        "reduce .[] as $x (0; . + $x)",
        "foreach .[] as $x (0; .)",
        "label $f | .",
        "input",
        "inputs",
        "debug",
        "stderr",
        "env",
        "$ENV",
        "$__loc__",
        "halt",
        "error",
        "input_filename",
        "getpath([\"a\"])",
        "path(..)",
        "walk(.)",
        ".a = 1",
        ".[] |= 1",
        "\"a\" * 1000000",
        ". - .",
        ". % 2",
        "[.[] as $x | $x]",
        "test(\"(a+)+\")",
        "@base64d",
        "@text \"\\(.)\"",
        "fromjson",
        "tonumber",
        "combinations",
        "flatten",
        "add",
        ".[] == .[]",
        "{a: .[], b: .[]}",
        "\"\\(.[])\"",
        ".[.a]",
        ".[length:]",
        "..|..",
        "if .[] then 1 else 2 end",
        "select(.[])",
        "try error catch .",
        "import \"a\" as a; .",
        "include \"a\"; .",
        "$now",
        "",
        "|",
        "((",
        "\"",
        ".a b",
        "splits(\"a\")",
        "ltrimstr",
        "now(1)",
        &long,
        &many,
        &doubling,
    ] {
        let found = check(&extract(text, None, None));
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].must.starts_with("must"), "{text}: {found:?}");
    }
}

#[test]
fn every_filter_that_is_offered_compiles() {
    for name in allowed::offered() {
        assert_eq!(
            allowed::check(&name).and_then(|()| run::compiles(&name)),
            Ok(()),
            "{name}"
        );
    }
}

#[test]
fn the_deepest_texts_overflow_no_stack() {
    for text in [
        format!("{}.{}", "(".repeat(500), ")".repeat(500)),
        format!("{}.{}", "[".repeat(500), "]".repeat(500)),
        format!("{}.", "-".repeat(1000)),
        format!("{}.", "try ".repeat(250)),
        format!(".{}", "|.".repeat(500)),
        format!(".{}", ".a".repeat(500)),
        format!(".{}", "[0]".repeat(300)),
        format!("{}1", "if 1 then ".repeat(100)),
        "(".repeat(1000),
        "\"\\(".repeat(300),
    ] {
        // Refused or not, but alive.
        let _ = check(&extract(&text, None, None));
    }
}

#[tokio::test]
async fn the_worst_filter_that_is_accepted_ends() {
    let answer = format!("[{}1]", "1,".repeat(4096));
    let text = "[(.,.)|(.,.)|(.,.)|(.,.)|..|select(. == 1)]|length|tostring";
    assert_eq!(value(text, &answer).await.unwrap(), (4097 * 16).to_string());
}

#[tokio::test]
async fn a_filter_that_would_make_too_much_of_an_answer_is_not_run() {
    let quotes = format!("\"{}\"", "\\\\".repeat(60_000));
    let nested = format!("{}\"{}\"{}", "[".repeat(100), "a".repeat(200_000), "]".repeat(100));
    for (text, answer) in [
        (["[.] | tostring"; 12].join(" | "), &quotes),
        ("[.. | tostring | split(\"\")] | length | tostring".to_owned(), &nested),
    ] {
        assert_eq!(check(&extract(&text, None, None)), [], "{text}");
        let error = value(&text, answer).await.unwrap_err();
        assert!(error.contains("256 MiB"), "{text}: {error}");
        assert!(
            !value(&text, "\"a\"")
                .await
                .is_err_and(|error| error.contains("256 MiB")),
            "{text}"
        );
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn no_text_panics(text in "[a-z0-9 ()\\[\\]{}.,:?!&|<>=+*/%'\"\\\\$@;-]{0,60}") {
            let _ = check(&extract(&text, None, None));
        }
    }
}
