//! The tokens of a document (section 2.1 of the specification).

/// A token. What is ignored (white space, commas, comments, byte order marks) is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A name or keyword.
    Name(&'a str),
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Punctuator(u8),
    /// `...`
    Spread,
    /// A string.
    Text,
    /// A number.
    Number,
}

/// What begins here is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

/// Reads a document from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

const MARK: &[u8] = "\u{feff}".as_bytes();

impl<'a> Lexer<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The line it stands in, from 1.
    pub fn line(&self) -> usize {
        super::lines(&self.text.as_bytes()[..self.at])
    }

    /// The next token; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Token<'a>>, NoToken> {
        self.skip_ignored();
        let rest = &self.text.as_bytes()[self.at..];
        let Some(first) = rest.first() else { return Ok(None) };
        let (token, length) = match first {
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
                (Token::Punctuator(*first), 1)
            }
            b'.' if rest.starts_with(b"...") => (Token::Spread, 3),
            b'"' if rest.starts_with(b"\"\"\"") => (Token::Text, block(rest).ok_or(NoToken)?),
            b'"' => (Token::Text, string(rest).ok_or(NoToken)?),
            b'-' | b'0'..=b'9' => (Token::Number, number(rest).ok_or(NoToken)?),
            byte if is_name(*byte) => {
                let length = count(rest, is_name);
                (Token::Name(&self.text[self.at..self.at + length]), length)
            }
            _ => return Err(NoToken),
        };
        self.at += length;
        Ok(Some(token))
    }

    fn skip_ignored(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            let rest = &bytes[self.at..];
            match rest.first() {
                Some(b' ' | b'\t' | b'\n' | b'\r' | b',') => self.at += 1,
                Some(b'#') => self.at += count(rest, |byte| byte != b'\n' && byte != b'\r'),
                Some(_) if rest.starts_with(MARK) => self.at += MARK.len(),
                _ => return,
            }
        }
    }
}

fn count(bytes: &[u8], like: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| like(**byte)).count()
}

/// Whether a byte may be in a name; the first is no digit, which is a number's.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of a string in quotes.
fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\n' | b'\r' => return None,
            // What stands behind it is not the end of the string, and must not be that of its line.
            b'\\' if matches!(text.get(at + 1)?, b'\n' | b'\r') => return None,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The length of a block string, in which `\"""` is no end.
fn block(text: &[u8]) -> Option<usize> {
    let mut at = 3;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(b"\"\"\"") {
            return Some(at + 3);
        }
        at += if rest.starts_with(b"\\\"\"\"") { 4 } else { 1 };
    }
}

/// The length of a number, which must not run into a name or a dot.
fn number(text: &[u8]) -> Option<usize> {
    let mut at = usize::from(text.first() == Some(&b'-'));
    let digits = |at: &mut usize| {
        let found = count(&text[*at..], |byte| byte.is_ascii_digit());
        *at += found;
        (found > 0).then_some(())
    };
    digits(&mut at)?;
    if text.get(at) == Some(&b'.') {
        at += 1;
        digits(&mut at)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        digits(&mut at)?;
    }
    match text.get(at) {
        Some(byte) if is_name(*byte) || *byte == b'.' => None,
        _ => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, NoToken> {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        while let Some(token) = lexer.next()? {
            found.push(token);
        }
        Ok(found)
    }

    #[test]
    fn a_string_ends_where_it_ends() {
        let one = |token| Ok(vec![token, Token::Name("a")]);
        for text in [
            r#""" a"#,
            r#""}{" a"#,
            r#""\"" a"#,
            r#""\\" a"#,
            r#""\u007d \u{1F600}" a"#,
            "\"# no comment\" a",
            r#""""""" a"#,
            r#"""" " "" \""" } """ a"#,
            "\"\"\"\n\r\"\"\" a",
        ] {
            assert_eq!(tokens(text), one(Token::Text), "{text}");
        }
        for text in ["-1.5e+3 a", "0,a", "1E5\na"] {
            assert_eq!(tokens(text), one(Token::Number), "{text}");
        }
        for text in [
            "\"a\nb\"",
            "\"a\rb\"",
            "\"a",
            "\"\\\"",
            "\"\\\n\"",
            "\"\"\" \"\" ",
            "\"\"\" \\\"\"\"",
            "1a",
            "1.",
            "-",
            "1e",
            "1...",
            "..",
            "é",
            "a\u{0}",
            "%",
            "?",
        ] {
            assert_eq!(tokens(text), Err(NoToken), "{text}");
        }
    }

    #[test]
    fn what_is_ignored_is_ignored_anywhere() {
        let two = Ok(vec![Token::Name("a"), Token::Name("b")]);
        for text in [
            "a b",
            "a,,b",
            "a#{\nb",
            "a#{\rb",
            "\u{feff}a\u{feff}b",
            "a\t\r\n b #",
            "a # \u{1F600} \"\nb",
        ] {
            assert_eq!(tokens(text), two, "{text:?}");
        }
        // A line ends with LF or CR and with nothing else.
        assert_eq!(tokens("a #\u{2028}b\u{85}c"), Ok(vec![Token::Name("a")]));
    }
}
