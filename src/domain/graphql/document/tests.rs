use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { depth: 8, aliases: 10 };

const WIDE: Bounds = Bounds {
    depth: u64::MAX,
    aliases: u64::MAX,
};

/// Depth and aliases of the only operation.
fn weight(text: &str) -> (u64, u64) {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        ahead: None,
    };
    let definitions = parser.document().unwrap_or_else(|_| panic!("{text}"));
    let weights = weigh(&definitions).unwrap();
    let operation = definitions.iter().position(|it| it.kind.is_some()).unwrap();
    (weights[operation].depth, weights[operation].aliases)
}

fn kind(text: &str, name: Option<&str>) -> Kind {
    read(text, &BOUNDS).unwrap().kind(name)
}

#[test]
fn operations_are_told_apart() {
    for (text, name, expected) in [
        ("{a}", None, Kind::Query),
        ("query {a}", None, Kind::Query),
        ("query mutation {a}", None, Kind::Query),
        ("mutation query {a}", None, Kind::Mutation),
        ("mutation {a}", None, Kind::Mutation),
        (
            "mutation M($x: [In!]! = [{a: \"}\"}] @d(x: {y: 1})) @d {a(x: $x)}",
            None,
            Kind::Mutation,
        ),
        ("subscription S {a}", None, Kind::Subscription),
        ("# mutation {a}\n{a}", None, Kind::Query),
        ("#{a}\rmutation {a}", None, Kind::Mutation),
        ("{a(x: \"} mutation {b\")}", None, Kind::Query),
        ("{a(x: \"\"\"} \\\"\"\" mutation {b\"\"\")}", None, Kind::Query),
        ("\u{feff}{a}", None, Kind::Query),
        ("\"says what it is\" mutation M {a}", None, Kind::Mutation),
        ("fragment F on T {a} query {...F}", None, Kind::Query),
        // The name says which.
        ("query A {a} mutation B {b}", Some("A"), Kind::Query),
        ("query A {a} mutation B {b}", Some("B"), Kind::Mutation),
        ("query A {a} mutation B {b}", Some("C"), Kind::Unknown),
        ("query A {a} mutation B {b}", None, Kind::Unknown),
        ("query A {a} mutation B {b}", Some(""), Kind::Unknown),
        ("query A {a} query B {b}", None, Kind::Unknown),
        ("{a}", Some("A"), Kind::Unknown),
        // Of two with one name the worse.
        ("query A {a} mutation A {b}", Some("A"), Kind::Mutation),
        ("mutation A {a} query A {b}", Some("A"), Kind::Mutation),
    ] {
        assert_eq!(kind(text, name), expected, "{text} {name:?}");
    }
}

#[test]
fn depth_is_fields_within_fields() {
    for (text, expected) in [
        ("{a}", (1, 0)),
        ("{a b c}", (1, 0)),
        ("{a {b} c {d {e}}}", (3, 0)),
        ("{a(x: {y: {z: [1]}}) @i(if: true) {b}}", (2, 0)),
        ("{... {a} ... on T {a {b}} ... @i(if: true) {... {c}}}", (2, 0)),
        ("{a {...F}} fragment F on T {b {c}}", (3, 0)),
        ("{a {...F} ...G} fragment F on T {b {...G}} fragment G on T {c}", (3, 0)),
        ("{a {...Nowhere}}", (1, 0)),
        ("{on {query {fragment {mutation}}}}", (4, 0)),
        ("{a: b c: d {e: f}}", (2, 3)),
        ("{x: a(y: 1) ...F ...F} fragment F on T {y: b ... on U {z: c}}", (1, 5)),
        // Nobody spreads it.
        ("{a} fragment F on T {b: b {c: c {...F}}}", (1, 0)),
    ] {
        assert_eq!(weight(text), expected, "{text}");
    }
}

#[test]
fn what_is_over_a_bound_is_named() {
    let deep = "query Deep {a {b {c {d {e {f {g {h {i}}}}}}}}}";
    assert_eq!(
        read(deep, &BOUNDS).unwrap_err().to_string(),
        "the operation `Deep` is 9 fields deep, and `graphql.maxDepth` is 8"
    );
    let spread = "{a {b {c {d {...F}}}}} fragment F on T {e {f {g {h {i}}}}}";
    assert_eq!(
        read(spread, &BOUNDS).unwrap_err().to_string(),
        "the operation is 9 fields deep, and `graphql.maxDepth` is 8"
    );
    // Also one that is not asked for, because which one is asked for is not always known.
    assert!(read("query A {a} query B {a {b {c {d {e {f {g {h {i}}}}}}}}}", &BOUNDS).is_err());
    let long = format!("query {} {{a {{b}}}}", "N".repeat(1000));
    let told = read(&long, &Bounds { depth: 1, aliases: 0 }).unwrap_err().to_string();
    assert_eq!(
        told.len(),
        "the operation `` is 2 fields deep, and `graphql.maxDepth` is 1".len() + 64
    );
    let document = read("query A {x: a} query B {x: a y: a}", &BOUNDS).unwrap();
    assert_eq!((document.aliases, &*document.widest), (2, "the operation `B`"));
}

#[test]
fn spreads_that_double_are_counted_and_not_written_out() {
    let mut text = "{...F0}".to_owned();
    for index in 0..100 {
        write!(
            text,
            "fragment F{index} on T {{x: a ...F{} ...F{}}}",
            index + 1,
            index + 1
        )
        .unwrap();
    }
    text += "fragment F100 on T {x: a {b}}";
    assert_eq!(weight(&text), (2, u64::MAX));
    let mut text = "{...F0}".to_owned();
    for index in 0..10_000 {
        write!(text, "fragment F{index} on T {{a {{...F{}}}}}", index + 1).unwrap();
    }
    text += "fragment F10000 on T {a}";
    assert_eq!(weight(&text), (10_001, 0));
}

#[test]
fn fragments_in_a_circle_are_refused() {
    for text in [
        "{...F} fragment F on T {...F}",
        "{...F} fragment F on T {a {...G}} fragment G on T {...H} fragment H on T {b {...F}}",
        "fragment A on T {...B} fragment B on T {...A} query {a {...B}}",
    ] {
        assert!(matches!(read(text, &BOUNDS), Err(Refusal::Cycle(_))), "{text}");
    }
    let two = "{...F} fragment F on T {a} fragment F on T {b}";
    assert_eq!(read(two, &BOUNDS), Err(Refusal::TwoFragments("F".to_owned())));
}

#[test]
fn nesting_of_any_depth_overflows_no_stack() {
    let many = 100_000;
    let fields = format!("{}{}", "{a".repeat(many), "}".repeat(many));
    assert_eq!(weight(&fields), (many as u64, 0));
    let inline = format!("{{a {}{}}}", "...{a".repeat(many), "}".repeat(many));
    assert_eq!(weight(&inline), (1, 0));
    for (open, close) in [("[", "]"), ("{a:", "}")] {
        let value = format!("{{a(x: {}1{})}}", open.repeat(many), close.repeat(many));
        assert_eq!(weight(&value), (1, 0));
    }
    for text in [
        "{".repeat(many),
        "{a".repeat(many),
        "{a(".repeat(many),
        "...".repeat(many),
        "[".repeat(many),
    ] {
        assert!(read(&text, &WIDE).is_err());
    }
}

#[test]
fn what_is_no_document_is_refused_with_its_line() {
    for (text, line) in [
        ("", 1),
        ("# nothing", 1),
        ("fragment F on T {a}", 1),
        ("query", 1),
        ("{a", 1),
        ("{a}}", 1),
        ("\n\n{a b: }", 3),
        ("{a(x: [1)]}", 1),
        ("{a(x: 1}", 1),
        ("{a\n{b \"\n\"}}", 2),
        ("{a ...}", 1),
        ("{a ...F {b}}", 1),
        ("fragment on on T {a} {a}", 1),
        ("fragment F {a} {b}", 1),
        ("type T {a: Int}", 1),
        ("schema {query: Q}", 1),
        ("extend type T {a: Int}", 1),
        ("quer\u{443} {a}", 1),
        ("MUTATION {a}", 1),
        ("{a} mutation", 1),
        ("{a b{c}: d}", 1),
        ("{\u{0}a}", 1),
        ("3 {a}", 1),
    ] {
        assert_eq!(read(text, &BOUNDS), Err(Refusal::NotGraphQl { line }), "{text:?}");
    }
    let long = format!("{{a}} #{}", "x".repeat(LONGEST));
    assert_eq!(read(&long, &BOUNDS), Err(Refusal::TooLong));
}

/// A selection set, with its depth and its aliases.
fn selections() -> impl Strategy<Value = (String, u64, u64)> {
    let leaf = prop_oneof![
        Just(("a".to_owned(), 1, 0)),
        Just(("x: a(b: \"}\", c: {d: [1.5, $e]})".to_owned(), 1, 1)),
        Just(("...F".to_owned(), 2, 1)),
    ];
    let set = |items: Vec<(String, u64, u64)>| {
        let text: Vec<_> = items.iter().map(|item| &*item.0).collect();
        let depth = items.iter().map(|item| item.1).max().unwrap_or(0);
        (
            format!("{{{}}}", text.join(" # }\n")),
            depth,
            items.iter().map(|item| item.2).sum::<u64>(),
        )
    };
    leaf.prop_recursive(6, 64, 4, move |inner| {
        (proptest::collection::vec(inner, 1..4).prop_map(set), 0..4).prop_map(|((text, depth, aliases), form)| {
            match form {
                0 => (format!("a{text}"), depth + 1, aliases),
                1 => (format!("x: a(b: {{c: 1}}) @d {text}"), depth + 1, aliases + 1),
                2 => (format!("...on T @d(e: \"{{\"){text}"), depth, aliases),
                _ => (format!("...{text}"), depth, aliases),
            }
        })
    })
}

proptest! {
    #[test]
    fn what_is_generated_weighs_what_it_weighs((text, depth, aliases) in selections()) {
        let text = format!("query Q {{{text}}} fragment F on T {{a {{x: b}}}}");
        prop_assert_eq!(weight(&text), (depth, aliases));
    }

    #[test]
    fn no_text_does_harm(text in "[a-z{}()\\[\\]:@$!.,\"\\\\# \n\r\u{feff}0-9-]{0,200}") {
        drop(read(&text, &WIDE));
    }

    #[test]
    fn no_prefix_of_a_mutation_is_a_query(cut in 0_usize..60) {
        let text = "mutation M($x: Int = 1) {a(x: \"\"\"{\"\"\") {b}} # {a}\n";
        if let Ok(document) = read(&text[..cut.min(text.len())], &WIDE) {
            prop_assert_eq!(document.kind(None), Kind::Mutation);
        }
    }
}
