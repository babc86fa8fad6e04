//! What the `OTEL_*` variables say, as the specification of OpenTelemetry has them.
//!
//! The SDK reads most of them itself and falls back where it cannot read one. Here they are read before, so that a
//! mistake is told at the start instead of spans that never come.

use url::Url;

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The whole URL, path included; `http` or `https`, without a user.
    pub url: Url,
}

/// Variables that cannot be followed, or spans that cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpansError {
    /// A URL that is none, or not one to send to.
    #[error(
        "{0} is not a URL that spans can be sent to; write http or https, a host and a port, such as \
         http://otel-collector.monitoring:4318, without user and password"
    )]
    Url(&'static str),
    /// A value that is not among those which are understood.
    #[error("{name} is not understood; use {wanted}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What may be written.
        wanted: &'static str,
    },
    /// The exporter refuses the variables that it reads itself.
    #[error("the exporter of spans cannot be set up; check the OTEL_EXPORTER_OTLP_ variables")]
    Exporter,
    /// Spans were started before.
    #[error("spans are already set up")]
    Taken,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Where a collector listens if nothing else is said.
const DEFAULT: &str = "http://localhost:4318/v1/traces";

/// What of the controller's environment its workers get as well. Headers are not among them: they hold keys, and whoever
/// may read a Deployment reads its environment.
pub const HANDED_ON: [&str; 16] = [
    ENDPOINT,
    TRACES_ENDPOINT,
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    EXPORTER,
    SAMPLER,
    SAMPLER_ARG,
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_SDK_DISABLED",
];

/// Reads the variables; `None` is no spans. Without a collector there are none, unlike in the SDK, which would try port
/// 4318 of this machine for ever; `OTEL_TRACES_EXPORTER=otlp` asks for that.
pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Collector>, SpansError> {
    // The specification: an empty value is an unset one.
    let get = |name: &'static str| {
        get(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let asked = match get(EXPORTER).as_deref() {
        Some("none") => return Ok(None),
        Some("otlp") => true,
        None => false,
        Some(_) => {
            return Err(SpansError::Value {
                name: EXPORTER,
                wanted: "otlp or none",
            });
        }
    };
    let url = match (get(TRACES_ENDPOINT), get(ENDPOINT)) {
        (Some(whole), _) => parse(TRACES_ENDPOINT, &whole)?,
        (None, Some(base)) => parse(ENDPOINT, &format!("{}/v1/traces", base.trim_end_matches('/')))?,
        (None, None) if asked => parse(EXPORTER, DEFAULT)?,
        (None, None) => return Ok(None),
    };
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if get(name).is_some_and(|value| value != "http/protobuf") {
            return Err(SpansError::Value {
                name,
                wanted: "http/protobuf, and the collector's port for it, 4318",
            });
        }
    }
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
    ] {
        if get(name).is_some_and(|value| value != "none") {
            return Err(SpansError::Value { name, wanted: "none" });
        }
    }
    check_sampler(get(SAMPLER).as_deref(), get(SAMPLER_ARG).as_deref())?;
    Ok(Some(Collector { url }))
}

fn parse(name: &'static str, text: &str) -> Result<Url, SpansError> {
    let url = Url::parse(text).map_err(|_| SpansError::Url(name))?;
    let usable = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none();
    if usable { Ok(url) } else { Err(SpansError::Url(name)) }
}

fn check_sampler(sampler: Option<&str>, argument: Option<&str>) -> Result<(), SpansError> {
    match sampler {
        None | Some("always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off") => Ok(()),
        Some("traceidratio" | "parentbased_traceidratio") => {
            let ratio = argument.and_then(|text| text.parse::<f64>().ok());
            if ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) {
                return Ok(());
            }
            Err(SpansError::Value {
                name: SAMPLER_ARG,
                wanted: "the part of all traces to keep, from 0 to 1, such as 0.1",
            })
        }
        Some(_) => Err(SpansError::Value {
            name: SAMPLER,
            wanted: "always_on, always_off, traceidratio, or one of them after parentbased_",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(variables: &[(&str, &str)]) -> Result<Option<String>, SpansError> {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        read(get).map(|collector| collector.map(|collector| collector.url.to_string()))
    }

    #[test]
    fn spans_go_where_the_environment_says() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (variables, url) in [
            (&[][..], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None),
            (&[base], Some("http://c:4318/v1/traces")),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp/")],
                Some("https://c/otlp/v1/traces"),
            ),
            (
                &[base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:1/here")],
                Some("http://t:1/here"),
            ),
            (
                &[("OTEL_TRACES_EXPORTER", "otlp")],
                Some("http://localhost:4318/v1/traces"),
            ),
            (&[base, ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[base, ("OTEL_SDK_DISABLED", "TRUE")], None),
            (&[base, ("OTEL_SDK_DISABLED", "no")], Some("http://c:4318/v1/traces")),
            (
                &[
                    base,
                    ("OTEL_TRACES_SAMPLER", "traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ],
                Some("http://c:4318/v1/traces"),
            ),
        ] {
            assert_eq!(read_from(variables), Ok(url.map(str::to_owned)), "{variables:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_by_the_name_of_its_variable_and_without_its_value() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://c:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://who:s3cret@c:4318"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let told = read_from(&[(name, value), base]).unwrap_err().to_string();
            assert!(told.contains(name) && !told.contains(value), "{told}");
        }
        for ratio in ["", "1.5", "-1", "NaN", "half"] {
            let variables = [
                base,
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
            ];
            let told = read_from(&variables).unwrap_err().to_string();
            assert!(told.contains("OTEL_TRACES_SAMPLER_ARG"), "{told}");
        }
    }
}
