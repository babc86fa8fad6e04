use super::*;

fn parse(text: &str) -> Vec<Result<Option<Node>, Malformed>> {
    documents(text).iter().map(Document::parse).collect()
}

#[test]
fn every_node_knows_its_line_in_the_file() {
    let text = "# head\n---\na: 1\nb:\n  - c: x\n    d: |\n      text\n---\n{\"e\":\n\t[true, 2.5]}\n";
    let parsed: Vec<Node> = parse(text)
        .into_iter()
        .map(|node| node.ok().flatten().unwrap())
        .collect();
    assert_eq!(parsed.len(), 2);
    let b = parsed[0].field("b").unwrap();
    let Value::List(items) = &b.value else { panic!() };
    let Value::Map(entries) = &items[0].value else { panic!() };
    let lines: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.line)).collect();
    assert_eq!(lines, [("c", 5), ("d", 6)]);
    assert_eq!(parsed[0].field("a").unwrap().line, 3);
    assert_eq!(parsed[1].field("e").unwrap().line, 10);
}

#[test]
fn an_error_in_one_document_leaves_the_others() {
    let parsed = parse("a: 1\n---\nb: [\n---\nc: 3\n");
    assert!(matches!(&parsed[0], Ok(Some(_))));
    assert!(matches!(&parsed[2], Ok(Some(_))));
    let Err(malformed) = &parsed[1] else { panic!() };
    assert!(
        malformed.line.is_some_and(|line| (3..=4).contains(&line)),
        "{:?}",
        malformed.line
    );
}

#[test]
fn no_error_quotes_a_value() {
    for text in [
        "a: 'canary\n",
        "a: \"canary\\q\"\n",
        "a: *canary\n",
        "canary: 1\ncanary: 2\n",
        "a: canary: b\n",
        "a: !!int canary\n",
        "a: !canary b\n",
        "- canary\nb: 1\n",
        "a: b\n  canary\n c: d\n",
        "\tcanary: 1\n",
        "a: {canary\n",
        "a: !!binary canary~\n",
        "? [canary]\n: 1\n",
        "<<: canary\n",
    ] {
        for parsed in parse(text) {
            if let Err(malformed) = parsed {
                assert!(!malformed.message.contains("canary"), "{text:?}: {}", malformed.message);
                assert!(malformed.line.is_some(), "{text:?}: {}", malformed.message);
            }
        }
    }
}

#[test]
fn markers_comments_and_empty_documents_are_no_objects() {
    assert_eq!(parse("").len(), 0);
    assert_eq!(parse("---\n---\n# only a comment\n...\n").len(), 0);
    assert_eq!(parse("%YAML 1.2\n---\na: 1\n").len(), 1);
    assert_eq!(parse("a: |\n  --- not a marker\n  x\n--- # a comment\nb: 1\n").len(), 2);
    assert_eq!(parse("\u{feff}a: 1\r\n---\r\nb: 2\r\n").len(), 2);
    assert!(matches!(parse("null\n")[0], Ok(None)));
}

#[test]
fn a_bomb_of_aliases_or_depth_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        bomb += &[
            "a",
            &level.to_string(),
            ": &a",
            &level.to_string(),
            " [",
            &aliases,
            "]\n",
        ]
        .concat();
    }
    let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    for text in [bomb, deep] {
        assert!(parse(&text)[0].is_err());
    }
}
