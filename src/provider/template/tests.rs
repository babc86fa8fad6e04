use super::*;

fn request(url: &str, headers: &[(&str, &str)], body: Option<&str>) -> StepRequest {
    StepRequest {
        method: None,
        url: url.into(),
        headers: headers.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        body: body.map(Into::into),
    }
}

/// `test` with `value`: the step that knows all names.
fn rendered(request: &StepRequest, value: &str) -> Result<Rendered, Violation> {
    let value = SecretValue::new(value);
    let known = Known {
        attempt_id: Some("attempt"),
        value: Some(&value),
        ..Known::default()
    };
    render(Step::Test, request, known)
}

fn refused(request: &StepRequest) -> String {
    let found = check_request(Step::Test, request);
    assert_eq!(found.len(), 1, "{request:?}: {found:?}");
    found[0].to_string()
}

#[test]
fn each_value_stands_in_its_place() {
    let request = request(
        "https://api.example.com/keys/{{ value }}?label={{attempt.id}}",
        &[("Authorization", "Token {{ value }}")],
        Some(r#"{"label": "{{ attempt.id }}", "key": {"value": "{{value}}"}}"#),
    );
    let made = rendered(&request, "a/b+c").unwrap();
    assert_eq!(made.method, Method::POST);
    assert_eq!(
        made.url.as_str(),
        "https://api.example.com/keys/a%2Fb%2Bc?label=attempt"
    );
    assert_eq!(made.headers["authorization"].expose(), "Token a/b+c");
    assert_eq!(made.headers["content-type"].expose(), "application/json");
    assert_eq!(
        made.body.unwrap().expose(),
        r#"{"label": "attempt", "key": {"value": "a/b+c"}}"#
    );
}

#[test]
fn a_template_that_is_wrong_names_its_field_and_what_is_known() {
    for (url, headers, body, expected) in [
        (
            "https://a/{{ secret }}",
            &[][..],
            None,
            "`spec.rotation.steps.test.request.url` must have one of `attempt.id`, `value`, `id`, `previous.value`, \
             `previous.id` between `{{` and `}}`",
        ),
        ("https://a/{{ value", &[], None, "must close every `{{`"),
        ("https://{{ value }}/", &[], None, "path and its query alone"),
        ("https://a{{ value }}/", &[], None, "path and its query alone"),
        ("https://a:{{ value }}@b/", &[], None, "path and its query alone"),
        ("https://a:b@c/{{ value }}", &[], None, "no user name"),
        ("{{ value }}://a/", &[], None, "must begin with"),
        ("ftp://a/", &[], None, "must begin with"),
        ("https:///{{ value }}/b", &[], None, "path and its query alone"),
        ("https://a\\{{ value }}", &[], None, "without `#`"),
        ("https://a/#{{ value }}", &[], None, "without `#`"),
        ("https://a/%{{ value }}", &[], None, "`%` right before"),
        ("https://a/%2{{ value }}", &[], None, "`%` right before"),
        ("https://a/../b", &[], None, "no segment"),
        ("https://a/%2E./b", &[], None, "no segment"),
        (
            "https://a/",
            &[("a b", "x")],
            None,
            "request.headers[a b]` must have the name of a header",
        ),
        ("https://a/", &[("Content-Length", "1")], None, "frames the message"),
        ("https://a/", &[("x", "a\nb")], None, "visible ASCII"),
        ("https://a/", &[("X", "1"), ("x", "2")], None, "must be there once"),
        ("https:////a/{{ value }}", &[], None, "path and its query alone"),
        (
            "https://a/",
            &[("content-type", "application/json")],
            Some("{{ value }} {"),
            "request.body` must be JSON",
        ),
        (
            "https://a/",
            &[("content-type", "application/json; charset=utf-8")],
            Some(r#"{"a": "\{{ value }}"}"#),
            "request.body` must be JSON",
        ),
        (
            "https://a/",
            &[("content-type", "application/vnd.api+json")],
            Some(r#"{"a": "\u00{{ value }}"}"#),
            "request.body` must be JSON",
        ),
        (
            "https://a/",
            &[("content-type", "application/x-www-form-urlencoded")],
            Some("a=%{{ value }}"),
            "`%` right before",
        ),
    ] {
        let message = refused(&request(url, headers, body));
        assert!(message.contains(expected), "{url} {headers:?} {body:?}: {message}");
    }
}

#[test]
fn a_name_without_a_value_in_this_step_is_an_error() {
    let step = request("https://a/{{ previous.id }}", &[], None);
    let message = rendered(&step, "v").err().unwrap().to_string();
    assert_eq!(
        message,
        "`spec.rotation.steps.test.request.url` must not name `previous.id`, which has no value now; known now are \
         `attempt.id`, `value`"
    );
    let found = check_request(Step::Revoke, &request("https://a/{{ value }}", &[], None));
    assert!(
        found[0].must.contains("must not name `value` in this step"),
        "{found:?}"
    );
    assert!(
        rendered(&request("https://a/{{ value }}", &[], None), "").is_err(),
        "empty"
    );
}

#[test]
fn a_value_that_would_go_to_another_resource_is_refused() {
    for (url, value) in [
        ("https://a/keys/{{ value }}", ".."),
        ("https://a/keys/{{ value }}/b", "."),
        ("https://a/keys/.{{ value }}", "."),
        ("https://a/keys/%2e{{ value }}", "."),
        ("https://a/keys/{{ value }}{{ value }}", "."),
    ] {
        let message = rendered(&request(url, &[], None), value).err().expect(url).to_string();
        assert!(message.contains("no segment"), "{message}");
    }
    rendered(&request("https://a/keys?a={{ value }}", &[], None), "..").unwrap();
}

#[test]
fn a_body_takes_what_it_can_carry() {
    let body = |content_type: Option<&str>, body: &str, value: &str| {
        let headers: Vec<_> = content_type.map(|it| ("Content-Type", it)).into_iter().collect();
        rendered(&request("https://a/", &headers, Some(body)), value)
            .map(|made| made.body.unwrap().expose().to_owned())
            .map_err(|violation| violation.must)
    };
    let form = Some("application/x-www-form-urlencoded");
    assert_eq!(body(None, r#"{"a":{{ value }}}"#, "17").unwrap(), r#"{"a":17}"#);
    assert!(body(None, r#"{"a":{{ value }}}"#, r#"1,"admin":true"#).is_err());
    assert!(body(None, r#"{"a":{{ value }}}"#, "012").is_err());
    assert_eq!(
        body(None, r#"{"a":"{{ value }}"}"#, "\"\\\n").unwrap(),
        r#"{"a":"\"\\\n"}"#
    );
    assert_eq!(
        body(form, "a={{ value }}&b=1", "x&b=2 é").unwrap(),
        "a=x%26b%3D2+%C3%A9&b=1"
    );
    assert_eq!(
        body(Some("text/plain"), "{{ value }}", "<any> thing").unwrap(),
        "<any> thing"
    );
    assert_eq!(
        body(Some("text/xml"), "<a>{{ value }}</a>", "Ab+/=").unwrap(),
        "<a>Ab+/=</a>"
    );
    assert!(body(Some("text/xml"), "<a>{{ value }}</a>", "</a>").is_err());
    assert!(body(None, "a={{ value }}", "x&y").is_err());
}

#[test]
fn no_message_has_a_value_in_it() {
    for (headers, body) in [
        (&[("x", "{{ value }}")][..], None),
        (&[], Some("a {{ value }}")),
        (&[], Some("[{{ value }}]")),
    ] {
        let message = rendered(&request("https://a/", headers, body), "cana\nry")
            .err()
            .unwrap();
        assert!(!message.to_string().contains("cana"), "{message}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_value_breaks_out_of_a_url(value in "(\\PC|[./%?#&=@:\\\\ \r\n]){1,20}") {
            let request = request("https://api.example.com:8443/a/{{ value }}/b?c={{ value }}&d=1", &[], None);
            let Ok(made) = rendered(&request, &value) else {
                prop_assert!(value == "." || value == "..");
                return Ok(());
            };
            prop_assert_eq!(made.url.origin().ascii_serialization(), "https://api.example.com:8443");
            let segments: Vec<String> = made.url.path_segments().unwrap()
                .map(|part| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned()).collect();
            prop_assert_eq!(segments, ["a", &value, "b"]);
            let pairs: Vec<(String, String)> = made.url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [("c".to_owned(), value), ("d".to_owned(), "1".to_owned())]);
            prop_assert_eq!(made.url.fragment(), None);
        }

        #[test]
        fn no_value_breaks_out_of_json(value in "(\\PC|[\"\\\\{}:,\r\n\t\0]){1,20}") {
            let request = request("https://a/", &[], Some(r#"{"{{ value }}": ["{{ value }}", "\\{{ value }}\""]}"#));
            let made = rendered(&request, &value).unwrap();
            let read: serde_json::Value = serde_json::from_str(made.body.unwrap().expose()).unwrap();
            let mut expected = serde_json::Map::new();
            expected.insert(value.clone(), serde_json::json!([value, format!("\\{value}\"")]));
            prop_assert_eq!(read, serde_json::Value::Object(expected));
        }

        #[test]
        fn no_value_breaks_out_of_a_form(value in "(\\PC|[&=%+; \r\n]){1,20}") {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            let request = request("https://a/", &headers, Some("a={{ value }}&b={{ value }}"));
            let made = rendered(&request, &value).unwrap();
            let read: Vec<(String, String)> =
                url::form_urlencoded::parse(made.body.unwrap().expose().as_bytes()).into_owned().collect();
            prop_assert_eq!(read, [("a".to_owned(), value.clone()), ("b".to_owned(), value)]);
        }

        #[test]
        fn a_header_has_the_whole_value_or_is_refused(value in "(\\PC|[ \r\n\t\0]){1,20}") {
            match rendered(&request("https://a/", &[("x", "a {{ value }} b")], None), &value) {
                Ok(made) => prop_assert_eq!(made.headers["x"].expose(), format!("a {value} b")),
                Err(_) => prop_assert!(!value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
                    || value.starts_with(' ') || value.ends_with(' ')),
            }
        }

        #[test]
        fn no_text_panics(text in "[a-z{}\"\\\\%/?: .]{0,40}") {
            for request in [
                request(&text, &[], None),
                request("https://a/", &[("x", &text)], None),
                request("https://a/", &[], Some(&text)),
            ] {
                let _ = check_request(Step::Test, &request);
            }
        }
    }
}
