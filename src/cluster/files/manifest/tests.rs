use super::*;

const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: shop}
data:
  packed: c2Vj
    cmV0
  binary: /w==
  over: YQ==
stringData:
  plain: text
  over: b
";

fn told(text: &str) -> Vec<String> {
    let problems = read(text).problems;
    let line = |problem: &Problem| {
        let object = problem.object.as_ref().map_or_else(String::new, Identity::to_string);
        let (number, field) = (problem.line.unwrap(), problem.field.clone().unwrap_or_default());
        format!("{number}|{object}|{field}|{}", problem.message)
    };
    problems.iter().map(line).collect()
}

#[test]
fn a_secret_is_decoded_and_text_wins() {
    let reading = read(SECRET);
    assert_eq!(reading.problems, []);
    let Object::Secret(key, values) = &reading.objects[0].1 else {
        panic!()
    };
    assert_eq!(key.to_string(), "shop/key");
    let exposed: Vec<_> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_ref().map(SecretValue::expose)))
        .collect();
    let wanted = [
        ("binary", None),
        ("over", Some("b")),
        ("packed", Some("secret")),
        ("plain", Some("text")),
    ];
    assert_eq!(exposed, wanted);
}

#[test]
fn a_list_gives_each_of_its_objects_in_json_too() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 5}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}]}"#;
    let reading = read(text);
    let names: Vec<_> = reading
        .objects
        .iter()
        .map(|(line, object)| (*line, object.identity().to_string()))
        .collect();
    assert_eq!(
        names,
        [(2, "ConfigMap default/a".into()), (4, "ConfigMap default/b".into())]
    );
    assert_eq!(
        told(text),
        ["3||metadata.name|must be a string, not a number; put it in quotes"]
    );
    assert!(reading.unidentified);
}

#[test]
fn a_problem_names_object_line_and_field() {
    let integration = "apiVersion: tidegate.dev/v1alpha1\nkind: Integration\nmetadata: {name: a}\n";
    for (text, wanted) in [
        ("a: 1\n".to_owned(), "1||kind|must be given"),
        ("- a\n".to_owned(), "1||kind|must be given; this is no"),
        (
            SECRET.replace("c2Vj", "c2V"),
            "5|Secret shop/key|data.packed|must be base64; write plain text",
        ),
        (
            SECRET.replace("apiVersion: v1", "apiVersion: v2"),
            "1|Secret shop/key|apiVersion|must be `v1`",
        ),
        (
            format!("{SECRET}---\n{integration}"),
            "13|Integration default/a|spec|must be given",
        ),
        (
            format!("{integration}spec: {{endpoints: [{{name: a, url: 'http://u:p@a.example'}}]}}\n"),
            "4|Integration default/a|spec.endpoints[0].url|must",
        ),
        (format!("{integration}spec: {{endpoints: [}}\n"), "4|||not valid YAML"),
    ] {
        let told = told(&text);
        assert!(told.iter().any(|line| line.starts_with(wanted)), "{wanted}\n{told:#?}");
    }
}

#[test]
fn a_kind_that_is_not_ours_is_skipped_with_a_remark() {
    let reading = read("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
    assert!(reading.objects.is_empty() && !reading.unidentified);
    assert!(!reading.problems[0].error);
    assert!(reading.problems[0].message.contains("`Deployment`"));
}

#[test]
fn a_broken_object_is_still_known_by_its_name() {
    let reading = read(&SECRET.replace("stringData:", "stringDate:"));
    assert_eq!(reading.broken[0].to_string(), "Secret shop/key");
    assert!(!reading.unidentified);
}
