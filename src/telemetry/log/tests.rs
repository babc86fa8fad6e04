use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines_of(what: impl FnOnce()) -> Vec<Value> {
    let lines = text_of(Render::Json, what);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text_of(render: Render, what: impl FnOnce()) -> String {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new("trace"))
        .with(filter_fn(is_ours_or_harmless))
        .with(Lines {
            writer: move || writer.clone(),
            render,
        });
    tracing::subscriber::with_default(subscriber, what);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_line_for_a_person_is_one_line_without_commands_to_the_terminal() {
    let text = text_of(Render::Text(human), || {
        tracing::warn!(name = "a\x1b[2J\nb", request_id = "x", status = 200, "all\nwell");
    });
    assert!(text.ends_with(" WARN  all well name=a [2J b status=200\n"), "{text}");
}

#[test]
fn a_line_has_the_fields_of_the_event_and_of_the_spans_around_it() {
    let lines = lines_of(|| {
        let span = tracing::info_span!(
            "reconcile",
            namespace = "shop",
            name = "outer",
            late = tracing::field::Empty
        );
        span.record("late", 7);
        span.in_scope(|| tracing::warn!(name = "inner", ok = true, "all \"went\"\nwell"));
    });
    let line = &lines[0];
    for (key, value) in [
        ("level", Value::from("warn")),
        ("logger", "tidegate::telemetry::log::tests".into()),
        ("msg", "all \"went\"\nwell".into()),
        ("namespace", "shop".into()),
        ("name", "inner".into()),
        ("late", 7.into()),
        ("ok", true.into()),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_field_cannot_pass_for_level_time_or_logger() {
    let lines = lines_of(|| tracing::info!(level = "error", ts = "never", logger = "other", "x"));
    assert_eq!(lines[0]["level"], "info");
    assert_eq!(lines[0]["logger"], "tidegate::telemetry::log::tests");
    assert_ne!(lines[0]["ts"], "never");
}

#[test]
fn a_line_is_the_same_with_a_span_around_it_and_without() {
    let event = |odd: f64| {
        tracing::info!(
            text = "a\"b\\c\u{1}\u{7f}é\n\r\t",
            shown = %"x\"y",
            debug = ?Some("z\n"),
            whole = u64::MAX,
            negative = i64::MIN,
            odd,
            yes = true,
            error = &io::Error::other("c\"d") as &dyn std::error::Error,
            level = "ours",
            "said \"so\""
        );
    };
    for odd in [0.1, 1e300, f64::NAN, f64::INFINITY] {
        let mut plain = lines_of(|| event(odd));
        let mut within = lines_of(|| tracing::info_span!("s").in_scope(|| event(odd)));
        for line in plain.iter_mut().chain(&mut within) {
            assert!(line["ts"].take().as_str().unwrap().parse::<Timestamp>().is_ok());
        }
        assert_eq!(plain, within);
    }
}

#[test]
fn libraries_are_not_heard_below_info() {
    let lines = lines_of(|| {
        tracing::debug!(target: "hyper::proto", "header: secret");
        tracing::trace!(target: "h2", "header: secret");
        tracing::debug!(target: "tidegatekeeper", "another crate");
        tracing::info!(target: "kube", "harmless");
        tracing::trace!("ours");
    });
    let said: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    assert_eq!(said, ["harmless", "ours"]);
}

#[test]
fn an_error_is_told_with_its_causes_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] io::Error);
    let lines = lines_of(|| {
        let error = Outer(io::Error::other("port taken"));
        tracing::error!(error = &error as &dyn std::error::Error, "stopped");
    });
    assert_eq!(lines[0]["error"], "cannot start: port taken");
}
