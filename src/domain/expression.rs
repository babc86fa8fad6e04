//! The `expression` of a health check: which texts are accepted.
//!
//! An interpreter cannot be stopped from outside, so what it may be asked to do is bounded by the text: its length, how
//! deep it nests, and how many loops it has, because each multiplies with those around it. The controller refuses a text
//! that is out of bounds when it validates, and the worker before it runs one.

use cel::Program;

/// Longest expression, in bytes; the schema has the same bound in characters.
pub const TEXT: usize = 1024;
/// Most loops in one expression.
pub const LOOPS: usize = 2;
/// Deepest nesting of brackets and of `?`.
pub const NESTING: usize = 32;

/// Stack of a thread that parses or evaluates, in bytes. Pages that are not touched cost nothing; the parser takes more
/// than 128 KiB for each bracket in a debug build.
const STACK: usize = 64 << 20;

/// A text that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpression {
    /// It is larger than what can be bounded.
    #[error(
        "must be at most {TEXT} bytes long, nest at most {NESTING} deep and have at most {LOOPS} of `all`, `exists`, \
         `exists_one`, `filter` and `map`"
    )]
    TooLarge,
    /// It does not compile.
    #[error("must be CEL: {0}")]
    NotCel(String),
}

/// Compiles `text`.
pub fn compile(text: &str) -> Result<Program, InvalidExpression> {
    if text.len() > TEXT || loops(text) > LOOPS || nesting(text) > NESTING {
        return Err(InvalidExpression::TooLarge);
    }
    let owned = text.to_owned();
    deep_thread(move || Program::compile(&owned).map_err(|error| first_line(&error.to_string())))
        .and_then(|thread| thread.join().map_err(|_| std::io::Error::other("the parser gave up")))
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(InvalidExpression::NotCel)
}

/// Runs `work` on a thread whose stack the deepest accepted text does not overflow: parser and interpreter recurse, and
/// an overflow would end the process.
pub fn deep_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new()
        .name("expression".into())
        .stack_size(STACK)
        .spawn(work)
}

/// What a parser says is about the text of the manifest alone; one short line of it is enough.
fn first_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().chars().take(128).collect()
}

/// How many loops `text` can have at most: every name of one followed by a parenthesis counts, even inside a string.
fn loops(text: &str) -> usize {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    [
        "all(",
        "exists(",
        "exists_one(",
        "filter(",
        "map(",
        "transformList(",
        "transformMap(",
        "transformMapEntry(",
    ]
    .iter()
    .map(|name| text.matches(name).count())
    .sum()
}

/// How deep `text` can nest at most; brackets inside a string count too.
fn nesting(text: &str) -> usize {
    let conditions = text.matches('?').count();
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + conditions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_cel_is_refused_with_one_short_line() {
        for text in ["status ==", "(", "'", "status = 200", "a b"] {
            let error = compile(text).expect_err(text).to_string();
            assert!(error.starts_with("must be CEL: "), "{text}: {error}");
            assert!(error.len() < 200 && !error.contains('\n'), "{text}: {error}");
        }
        compile("body.status == 'ok' && status < 300").unwrap();
    }

    #[test]
    fn what_could_run_for_long_is_refused() {
        let long = format!("true{}", " ".repeat(TEXT));
        let deep = format!("{}1{} == 1", "(".repeat(NESTING + 1), ")".repeat(NESTING + 1));
        for text in ["body.map(a, body.map(b, body . map (c, 1))).size() > 0", &long, &deep] {
            assert_eq!(compile(text).err(), Some(InvalidExpression::TooLarge), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever is written there, the controller lives.
        #[test]
        fn no_text_panics(text in "[a-z0-9 ()\\[\\]{}.,:?!&|<>=+*/%'\"\\\\-]{0,80}") {
            let _ = compile(&text);
        }
    }
}
