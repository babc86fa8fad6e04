//! Whether an answer has errors, told from its bytes as they pass.
//!
//! Nothing of an answer is kept: it is read once, a byte at a time, by a reader that knows where in the JSON it is and
//! looks only at the members that matter, `data`, `errors` and `extensions.code` of each error.

use crate::api::integration::ErrorsAreFailures;

/// What an answer says of its operation, or of the worst of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is not JSON, or not of an operation, or cannot be read.
    Unread,
    /// No errors.
    Clean,
    /// Errors that are all of the caller's making, by their codes.
    Caller,
    /// Data, and errors beside it.
    Partial,
    /// Errors, and no data.
    WithoutData,
}

impl Verdict {
    /// All of them, with what they are called in metrics and logs.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::Unread, "unread"),
        (Self::Clean, "none"),
        (Self::Caller, "caller"),
        (Self::Partial, "partial"),
        (Self::WithoutData, "without-data"),
    ];

    /// What it is called in metrics and logs.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Whether it is a failure of the provider.
    pub fn is_failure(self, choice: ErrorsAreFailures) -> bool {
        match choice {
            ErrorsAreFailures::Never => false,
            ErrorsAreFailures::WithoutData => self == Self::WithoutData,
            ErrorsAreFailures::Always => self >= Self::Partial,
        }
    }
}

/// Codes by which servers say that the caller is at fault, or has to ask otherwise; those of Apollo Server, which others
/// have taken over.
const OF_CALLERS: [&[u8]; 9] = [
    b"BAD_REQUEST",
    b"BAD_USER_INPUT",
    b"FORBIDDEN",
    b"GRAPHQL_PARSE_FAILED",
    b"GRAPHQL_VALIDATION_FAILED",
    b"OPERATION_RESOLUTION_FAILURE",
    b"PERSISTED_QUERY_NOT_FOUND",
    b"PERSISTED_QUERY_NOT_SUPPORTED",
    b"UNAUTHENTICATED",
];

/// The longest word that is compared with anything.
const LONGEST: usize = 32;

/// Where in an answer the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the list of a batch.
    Batch,
    /// In the answer to one operation.
    Result,
    /// In its list of errors.
    Errors,
    /// In one of them.
    Error,
    /// In that one's extensions.
    Extensions,
}

/// A member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Data,
    Errors,
    Extensions,
    Code,
    Other,
}

impl Member {
    fn of(name: &[u8]) -> Self {
        match name {
            b"data" => Self::Data,
            b"errors" => Self::Errors,
            b"extensions" => Self::Extensions,
            b"code" => Self::Code,
            _ => Self::Other,
        }
    }
}

/// Reads an answer.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is true or not whatever the others are"
)]
pub struct Reader {
    places: [Place; 5],
    depth: usize,
    /// Brackets that are open below the innermost place.
    beneath: u64,
    member: Member,
    expects_member: bool,
    in_string: bool,
    escaped: bool,
    word: [u8; LONGEST],
    /// How much of a word there is; absent while none is looked at.
    length: Option<usize>,
    has_data: bool,
    has_errors: bool,
    /// The error that is read has a code of a caller's.
    excused: bool,
    /// There is an error without one.
    blamed: bool,
    worst: Option<Verdict>,
    ended: bool,
}

impl Default for Reader {
    /// Before the first byte.
    fn default() -> Self {
        Self {
            places: [Place::Batch; 5],
            depth: 0,
            beneath: 0,
            member: Member::Other,
            expects_member: false,
            in_string: false,
            escaped: false,
            word: [0; LONGEST],
            length: None,
            has_data: false,
            has_errors: false,
            excused: false,
            blamed: false,
            worst: None,
            ended: false,
        }
    }
}

impl Reader {
    /// Reads the next bytes.
    pub fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.in_string {
                self.in_string(*byte);
            } else {
                self.step(*byte);
            }
        }
    }

    /// The verdict at the end.
    pub fn finish(&self) -> Verdict {
        match self.worst {
            Some(worst) if self.ended => worst,
            _ => Verdict::Unread,
        }
    }

    fn place(&self) -> Option<Place> {
        self.depth.checked_sub(1).map(|top| self.places[top])
    }

    fn in_string(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            self.end_word();
            return;
        }
        // A word with an escape in it is none that is known, and neither is a long one.
        if let Some(length) = &mut self.length {
            if let Some(place) = self.word.get_mut(*length) {
                *place = byte;
                *length += 1;
            } else {
                self.word[0] = 0;
            }
        }
    }

    fn end_word(&mut self) {
        let Some(length) = self.length.take() else { return };
        let word = &self.word[..length];
        if self.expects_member {
            self.member = Member::of(word);
        } else {
            self.excused = OF_CALLERS.contains(&word);
        }
    }

    fn step(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                self.begin_value(byte);
                self.in_string = true;
                let is_code = self.place() == Some(Place::Extensions) && self.member == Member::Code;
                self.length = (self.beneath == 0 && (self.expects_member || is_code)).then_some(0);
            }
            b'{' | b'[' => {
                self.begin_value(byte);
                self.open(byte);
            }
            b'}' | b']' if self.beneath > 0 => self.beneath -= 1,
            b'}' | b']' => self.close(),
            b',' if self.beneath == 0 => {
                self.expects_member = matches!(self.place(), Some(Place::Result | Place::Error | Place::Extensions));
            }
            b':' if self.beneath == 0 => self.expects_member = false,
            _ => self.begin_value(byte),
        }
    }

    /// The first byte of a value, or one of those behind it of a literal.
    fn begin_value(&mut self, first: u8) {
        if self.beneath > 0 || self.expects_member {
            return;
        }
        match (self.place(), self.member) {
            (Some(Place::Result), Member::Data) => self.has_data |= !b"null".contains(&first),
            (Some(Place::Errors), _) => {
                self.has_errors = true;
                // What is no object has no code.
                self.blamed |= first != b'{';
            }
            // Something else than one answer.
            (None, _) if self.ended || !b"{[".contains(&first) => self.worst = Some(Verdict::Unread),
            _ => {}
        }
    }

    fn open(&mut self, bracket: u8) {
        let place = match (self.place(), bracket, self.member) {
            _ if self.beneath > 0 => None,
            (None, b'[', _) if !self.ended => Some(Place::Batch),
            (None, b'{', _) if !self.ended => Some(Place::Result),
            (Some(Place::Batch), b'{', _) => Some(Place::Result),
            (Some(Place::Result), b'[', Member::Errors) => Some(Place::Errors),
            (Some(Place::Errors), b'{', _) => Some(Place::Error),
            (Some(Place::Error), b'{', Member::Extensions) => Some(Place::Extensions),
            _ => None,
        };
        match (place, self.places.get_mut(self.depth)) {
            (Some(place), Some(top)) => {
                *top = place;
                self.depth += 1;
                self.expects_member = bracket == b'{';
                if place == Place::Error {
                    self.excused = false;
                }
                if place == Place::Result {
                    (self.has_data, self.has_errors, self.blamed) = (false, false, false);
                }
            }
            _ => self.beneath += 1,
        }
    }

    fn close(&mut self) {
        match self.place() {
            Some(Place::Error) => self.blamed |= !self.excused,
            Some(Place::Result) => {
                let found = match (self.has_errors, self.blamed, self.has_data) {
                    (false, _, _) => Verdict::Clean,
                    (true, false, _) => Verdict::Caller,
                    (true, true, true) => Verdict::Partial,
                    (true, true, false) => Verdict::WithoutData,
                };
                self.worst = self.worst.max(Some(found));
            }
            Some(Place::Batch | Place::Errors | Place::Extensions) => {}
            None => self.worst = Some(Verdict::Unread),
        }
        self.depth = self.depth.saturating_sub(1);
        self.ended |= self.depth == 0;
        (self.expects_member, self.member) = (false, Member::Other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        let mut whole = Reader::default();
        whole.read(text.as_bytes());
        let mut pieces = Reader::default();
        for byte in text.bytes() {
            pieces.read(&[byte]);
        }
        assert_eq!(whole.finish(), pieces.finish(), "{text}");
        whole.finish()
    }

    #[test]
    fn the_members_that_matter_are_found_wherever_they_stand() {
        for (text, expected) in [
            (r#"{"data": {"a": 1}}"#, Verdict::Clean),
            (r#"{"data": null}"#, Verdict::Clean),
            (r#"{"data": {"a": 1}, "errors": []}"#, Verdict::Clean),
            (r#"{"errors": null, "data": {"a": 1}}"#, Verdict::Clean),
            (
                r#"{"errors": [{"message": "no"}], "data": {"a": null}}"#,
                Verdict::Partial,
            ),
            (r#"{"data": [], "errors": [{}]}"#, Verdict::Partial),
            (r#"{"data": "x", "errors": ["no"]}"#, Verdict::Partial),
            (r#"{"data":0,"errors":[{}]}"#, Verdict::Partial),
            (r#"{"errors": [{"message": "no"}], "data": null}"#, Verdict::WithoutData),
            (r#"{"errors": [{"message": "no"}]}"#, Verdict::WithoutData),
            (r#"{"errors": [1]}"#, Verdict::WithoutData),
            // None of these is the answer's own.
            (r#"{"data": {"errors": [{"message": "no"}]}}"#, Verdict::Clean),
            (
                r#"{"extensions": {"errors": [1], "data": 1}, "data": {}}"#,
                Verdict::Clean,
            ),
            (r#"{"data": "errors\": [1]"}"#, Verdict::Clean),
            (r#"{"data": "\\", "errors": [{}]}"#, Verdict::Partial),
            (
                r#"{"data": {"s": "}]\\\"", "l": [[{}], {"a": "["}]}, "errors": [{"path": ["a", 1]}]}"#,
                Verdict::Partial,
            ),
            (r#"{"a": "errors", "errors": [{}], "b": "data"}"#, Verdict::WithoutData),
            (r#"{"errors ": [{}]}"#, Verdict::Clean),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_of_callers_are_told_by_their_codes() {
        let error =
            |code: &str| format!(r#"{{"message": "m", "extensions": {{"code": "{code}", "a": {{"code": "X"}}}}}}"#);
        for (errors, expected) in [
            (error("PERSISTED_QUERY_NOT_FOUND"), Verdict::Caller),
            (error("GRAPHQL_VALIDATION_FAILED"), Verdict::Caller),
            (error("INTERNAL_SERVER_ERROR"), Verdict::WithoutData),
            (
                error("FORBIDDEN_AND_MUCH_LONGER_THAN_ANYTHING_THAT_IS_KNOWN"),
                Verdict::WithoutData,
            ),
            (error("F\\u004fRBIDDEN"), Verdict::WithoutData),
            (format!("{}, {}", error("FORBIDDEN"), error("X")), Verdict::WithoutData),
            (format!("{}, {}", error("X"), error("FORBIDDEN")), Verdict::WithoutData),
            (format!("{}, {{}}", error("FORBIDDEN")), Verdict::WithoutData),
            (r#"{"code": "FORBIDDEN"}"#.to_owned(), Verdict::WithoutData),
            (
                r#"{"extensions": {"a": {"code": "FORBIDDEN"}}}"#.to_owned(),
                Verdict::WithoutData,
            ),
            (
                r#"{"extensions": {"code": ["FORBIDDEN"]}}"#.to_owned(),
                Verdict::WithoutData,
            ),
        ] {
            assert_eq!(verdict(&format!(r#"{{"errors": [{errors}]}}"#)), expected, "{errors}");
        }
    }

    #[test]
    fn of_a_batch_the_worst_counts() {
        for (text, expected) in [
            (r#"[{"data": {}}, {"data": {}}]"#, Verdict::Clean),
            (r#"[{"errors": [{}]}, {"data": {}}]"#, Verdict::WithoutData),
            (r#"[{"data": {}}, {"data": {}, "errors": [{}]}]"#, Verdict::Partial),
            ("[]", Verdict::Unread),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        for text in [
            "",
            "null",
            "\"data\"",
            "12",
            "<html>",
            "{",
            "{\"data\": {}",
            "}",
            "{}}",
            "{} {\"errors\": [1]}",
            "{} 1",
            "[[]]",
            "[1]",
        ] {
            assert_eq!(verdict(text), Verdict::Unread, "{text}");
        }
    }

    #[test]
    fn a_hundred_thousand_brackets_cost_nothing() {
        let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
        assert_eq!(
            verdict(&format!(r#"{{"data": {}, "errors": [{{}}]}}"#, deep("[", "]"))),
            Verdict::Partial
        );
        assert_eq!(verdict(&deep("[", "]")), Verdict::Unread);
        assert_eq!(verdict(&deep("{\"errors\":[", "]}")), Verdict::WithoutData);
    }

    #[test]
    fn each_choice_takes_what_it_names() {
        use ErrorsAreFailures::{Always, Never, WithoutData};
        for (verdict, failures) in [
            (Verdict::Unread, [false; 3]),
            (Verdict::Clean, [false; 3]),
            (Verdict::Caller, [false; 3]),
            (Verdict::Partial, [false, false, true]),
            (Verdict::WithoutData, [false, true, true]),
        ] {
            let found = [Never, WithoutData, Always].map(|choice| verdict.is_failure(choice));
            assert_eq!(found, failures, "{verdict:?}");
        }
    }
}
