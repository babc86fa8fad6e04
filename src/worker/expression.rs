//! The `expression` of a health check: CEL over what a probe got.
//!
//! Variables: `status` (number), `headers` (map of lower-case name to value), `body` (parsed where it is JSON, else a
//! string), `certificate` (map with `subject`, `notAfter` as RFC 3339 and `expiresInSeconds`; empty without TLS).
//!
//! An interpreter cannot be stopped from outside, so its work is bounded from all sides: the text, the number of
//! comprehensions in it (each is a loop, and nested ones multiply), the size of the body, and one evaluation at a time
//! in the whole process. It runs on a thread of its own with a stack that the longest text cannot overflow: parser and
//! interpreter recurse, and an overflow would end the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cel::{Context, Program, Value};
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};

use crate::domain::expression::{self, InvalidExpression};

/// Most of a body that is looked at, in bytes.
pub const BODY: usize = 64 * 1024;

static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    program: Arc<Program>,
}

/// What a probe got, as the expression sees it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Status code.
    pub status: u16,
    /// Headers by lower-case name; several of one name are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// At most [`BODY`] bytes.
    pub body: Vec<u8>,
    /// The provider's certificate.
    pub certificate: Option<Certificate>,
}

/// The provider's certificate, as the expression sees it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Distinguished name.
    pub subject: String,
    /// End of validity, RFC 3339.
    pub not_after: String,
    /// Seconds until then; negative when it is over.
    pub expires_in_seconds: i64,
}

/// An expression that gives no answer. Nothing of what the provider sent is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It does not compile, or asks for more than can be bounded.
    #[error("the expression {0}")]
    Invalid(#[from] InvalidExpression),
    /// It refers to something that the answer does not have, or mixes types.
    #[error("the expression could not be evaluated on this answer")]
    Failed,
    /// It gives something other than true or false.
    #[error("the expression must give true or false")]
    NotBoolean,
    /// It did not end in time.
    #[error("the expression did not end in time")]
    Timeout,
}

impl Expression {
    /// Compiles `text`.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        Ok(Self {
            program: Arc::new(expression::compile(text)?),
        })
    }

    /// Whether it is true of `seen`, within `timeout`.
    pub async fn holds(&self, seen: Seen, timeout: Duration) -> Result<bool, ExpressionError> {
        let program = self.program.clone();
        let evaluation = async move {
            let permit = ONE_AT_A_TIME.acquire().await.map_err(|_| ExpressionError::Failed)?;
            // The permit moves into the thread: an evaluation that outlives its deadline still keeps others away.
            let (answer, answered) = oneshot::channel();
            expression::deep_thread(move || {
                let _permit = permit;
                // Nobody waits any more after a timeout.
                let _ = answer.send(evaluate(&program, seen));
            })
            .map_err(|_| ExpressionError::Failed)?;
            answered.await.unwrap_or(Err(ExpressionError::Failed))
        };
        tokio::time::timeout(timeout, evaluation)
            .await
            .unwrap_or(Err(ExpressionError::Timeout))
    }
}

fn evaluate(program: &Program, mut seen: Seen) -> Result<bool, ExpressionError> {
    seen.body.truncate(BODY);
    let mut context = Context::default();
    let body = match serde_json::from_slice::<serde_json::Value>(&seen.body) {
        Ok(json) => cel::to_value(json),
        Err(_) => cel::to_value(String::from_utf8_lossy(&seen.body)),
    };
    let certificate = match seen.certificate {
        Some(certificate) => cel::to_value(certificate),
        None => cel::to_value(BTreeMap::<String, String>::new()),
    };
    for (name, value) in [
        ("status", cel::to_value(i64::from(seen.status))),
        ("headers", cel::to_value(seen.headers)),
        ("body", body),
        ("certificate", certificate),
    ] {
        context.add_variable_from_value(name, value.map_err(|_| ExpressionError::Failed)?);
    }
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err(ExpressionError::NotBoolean),
        Err(_) => Err(ExpressionError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn holds(text: &str, body: &str) -> Result<bool, ExpressionError> {
        let seen = Seen {
            status: 200,
            headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
            body: body.as_bytes().to_vec(),
            certificate: Some(Certificate {
                subject: "CN=api.example.com".into(),
                not_after: "2027-01-01T00:00:00Z".into(),
                expires_in_seconds: 86_400,
            }),
        };
        Expression::compile(text)?.holds(seen, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn every_part_of_an_answer_can_be_asked_about() {
        for text in [
            "status == 200",
            "headers['content-type'].startsWith('application/')",
            "body.status == 'ok'",
            "body.parts.all(part, part.up)",
            "body.count >= 2",
            "certificate.expiresInSeconds > 3600",
            "has(body.status) && !has(body.missing)",
        ] {
            let body = r#"{"status": "ok", "count": 2, "parts": [{"up": true}]}"#;
            assert_eq!(holds(text, body).await, Ok(true), "{text}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_json_is_a_string() {
        assert_eq!(holds("body.contains('OK')", "all OK").await, Ok(true));
        assert_eq!(holds("body == ''", "").await, Ok(true));
    }

    #[tokio::test]
    async fn what_is_missing_or_no_boolean_is_an_error_without_the_body() {
        assert_eq!(
            holds("body.missing == 1", "{\"canary\": 1}").await,
            Err(ExpressionError::Failed)
        );
        assert_eq!(holds("status", "{}").await, Err(ExpressionError::NotBoolean));
        assert!(matches!(
            holds("status ==", "{}").await,
            Err(ExpressionError::Invalid(_))
        ));
    }

    #[test]
    fn expressions_that_could_run_for_long_are_refused() {
        let nested = "body.map(a, body.map(b, body . map (c, 1))).size() > 0";
        assert_eq!(
            Expression::compile(nested).unwrap_err(),
            ExpressionError::Invalid(InvalidExpression::TooLarge)
        );
        let long = format!("status == 200{}", " ".repeat(expression::TEXT));
        assert_eq!(
            Expression::compile(&long).unwrap_err(),
            ExpressionError::Invalid(InvalidExpression::TooLarge)
        );
    }

    #[tokio::test]
    async fn the_deepest_text_that_fits_overflows_no_stack() {
        for text in [
            format!("{}1{} == 1", "(".repeat(500), ")".repeat(500)),
            format!(
                "{}1{} == 1",
                "(".repeat(expression::NESTING),
                ")".repeat(expression::NESTING)
            ),
            format!("{}true", "!".repeat(1000)),
            format!("{}1 == 1", "-".repeat(1000)),
            format!("a{}", ".a".repeat(500)),
            format!(
                "{}1{} == 1",
                "[".repeat(expression::NESTING),
                "]".repeat(expression::NESTING)
            ),
            format!(
                "{}true{}",
                "true?".repeat(expression::NESTING),
                ":true".repeat(expression::NESTING)
            ),
            format!("true{}", "&&true".repeat(160)),
            format!("1{}", "+1".repeat(500)),
        ] {
            // Refused or evaluated, but alive.
            let _ = holds(&text, "{}").await;
        }
    }

    #[tokio::test]
    async fn a_deeply_nested_body_is_harmless() {
        let body = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(holds("status == 200", &body).await, Ok(true));
    }
}
