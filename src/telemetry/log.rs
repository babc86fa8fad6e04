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

mod line;

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
        Format::Json => Render::Json,
        // https://no-color.org
        Format::Human if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) => Render::Text(human),
        Format::Human => Render::Text(human_in_colour),
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
    render: Render,
}

/// What a line is made by.
#[derive(Clone, Copy)]
enum Render {
    Json,
    Text(fn(&Metadata<'_>, Map<String, Value>, Timestamp) -> String),
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
        let metadata = event.metadata();
        let render = match self.render {
            Render::Json if context.event_span(event).is_none() => {
                let write = |line: &[u8]| {
                    // A log that cannot be written has nowhere to say so.
                    let _ = self.writer.make_writer_for(metadata).write_all(line);
                };
                return line::write_line(metadata, event, Timestamp::now(), write);
            }
            Render::Json => json,
            Render::Text(render) => render,
        };
        let mut line = Map::new();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.clone());
            }
        }
        event.record(&mut Fields(&mut line));
        let mut text = render(metadata, line, Timestamp::now());
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

/// `message` becomes `msg`.
fn key(field: &Field) -> &'static str {
    match field.name() {
        "message" => "msg",
        name => name,
    }
}

/// What an error says, and what its causes say besides.
fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many messages quote their source already; saying it twice helps nobody.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Takes fields over into a JSON object.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        self.0.insert(key(field).to_owned(), value);
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
        self.set(field, error_text(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests;
