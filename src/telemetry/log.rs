//! Logs: one JSON object a line, or lines for a person where a person looks.
//!
//! The keys are those that controller-runtime writes (`level`, `ts`, `logger`, `msg`, `error`), so that what people have
//! for other operators works. The fields of the spans around an event stand beside its own; the innermost wins.
//!
//! Libraries are heard up to `info` whatever `RUST_LOG` says: below that some of them print headers, and a secret must
//! not be in a log at any level.

use std::fmt;
use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// For a person, with colours.
    Human,
}

/// Logs that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What is to be logged cannot be understood.
    #[error("RUST_LOG or --log-level is not a filter such as `info` or `tidegate=debug`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else set a subscriber before.
    #[error("the log is already set up: {0}")]
    Taken(#[from] TryInitError),
}

/// [`Format::Human`] where standard error is a terminal, else [`Format::Json`].
pub fn format_for_stderr() -> Format {
    if std::io::stderr().is_terminal() {
        Format::Human
    } else {
        Format::Json
    }
}

/// Starts logging to `writer`, at what `RUST_LOG` says or else at `info`. Once in a process.
pub fn start<W>(format: Format, writer: W) -> Result<(), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    start_at("info", format, writer)
}

/// Starts logging to `writer`, at what `RUST_LOG` says or else at `filter`. Once in a process.
pub fn start_at<W>(filter: &str, format: Format, writer: W) -> Result<(), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wanted = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(text)?,
        _ => EnvFilter::try_new(filter)?,
    };
    let registry = tracing_subscriber::registry()
        .with(wanted)
        .with(filter_fn(is_ours_or_harmless));
    let render = match format {
        Format::Json => json,
        // https://no-color.org
        Format::Human if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => human,
        Format::Human => human_in_colour,
    };
    registry.with(Lines { writer, render }).try_init()?;
    Ok(())
}

fn is_ours_or_harmless(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::INFO || target == "tidegate" || target.starts_with("tidegate::")
}

/// The layer that writes lines.
struct Lines<W> {
    writer: W,
    render: fn(&Metadata<'_>, Map<String, Value>, Timestamp) -> String,
}

/// Fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Map::new();
        attributes.record(&mut Fields(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Fields(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.clone());
            }
        }
        event.record(&mut Fields(&mut line));
        let metadata = event.metadata();
        let mut text = (self.render)(metadata, line, Timestamp::now());
        text.push('\n');
        // A log that cannot be written has nowhere to say so.
        let _ = self.writer.make_writer_for(metadata).write_all(text.as_bytes());
    }
}

fn json(metadata: &Metadata<'_>, mut fields: Map<String, Value>, now: Timestamp) -> String {
    // Set last, so that no field of an event can pass for one of these.
    fields.insert("level".into(), level(*metadata.level()).into());
    fields.insert("ts".into(), now.to_string().into());
    fields.insert("logger".into(), metadata.target().into());
    Value::Object(fields).to_string()
}

/// Fields that machines want; a person who does too sets another format by redirecting standard error.
const FOR_MACHINES: [&str; 8] = [
    "request_id",
    "bytes",
    "head_ms",
    "controller",
    "object",
    "kind",
    "action",
    "signal",
];

/// `time LEVEL message key=value …`, on one line whatever is in it.
fn human(metadata: &Metadata<'_>, mut fields: Map<String, Value>, now: Timestamp) -> String {
    let message = fields.remove("msg").as_ref().map(plain).unwrap_or_default();
    let mut text = format!("{} {:5} {message}", now.strftime("%H:%M:%S"), metadata.level());
    for (name, value) in fields.iter().filter(|(name, _)| !FOR_MACHINES.contains(&name.as_str())) {
        text.extend([" ", name, "=", &plain(value)]);
    }
    text
}

fn human_in_colour(metadata: &Metadata<'_>, fields: Map<String, Value>, now: Timestamp) -> String {
    let colour = match *metadata.level() {
        Level::ERROR => "31",
        Level::WARN => "33",
        _ => return human(metadata, fields, now),
    };
    format!("\x1b[{colour}m{}\x1b[0m", human(metadata, fields, now))
}

/// A value without anything that a terminal would take for a command.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Takes fields over into a JSON object; `message` becomes `msg`.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => "msg",
            name => name,
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many messages quote their source already; saying it twice helps nobody.
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        self.set(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
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
        let lines = text_of(json, what);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn text_of(render: fn(&Metadata<'_>, Map<String, Value>, Timestamp) -> String, what: impl FnOnce()) -> String {
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
        let text = text_of(human, || {
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
}
