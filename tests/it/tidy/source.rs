//! Reads Rust source just well enough to know which paths it names: comments, strings and characters are skipped, and
//! `use` groups are unfolded.

/// A path such as `crate::domain::plan::Plan`, with the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its segments; `crate` stands for what `self` and `super` led to.
    pub segments: Vec<String>,
    /// From 1.
    pub line: usize,
}

impl Named {
    /// The top-level module of this crate that it leads to.
    pub fn top(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [root, top, ..] if root == "crate" => Some(top),
            _ => None,
        }
    }
}

/// Every path in `text`, which is the module `module` of the crate; what is compiled for tests alone is left out unless
/// `with_tests`.
pub fn paths(text: &str, module: &[String], with_tests: bool) -> Vec<Named> {
    let tokens = tokens(text);
    let tokens = if with_tests { tokens } else { without_tests(&tokens) };
    let mut reader = Reader {
        tokens: &tokens,
        place: 0,
        found: Vec::new(),
    };
    // For each open brace, the module that it opens, if it is one.
    let mut open: Vec<Option<String>> = Vec::new();
    while let Some(token) = reader.peek(0) {
        match token {
            "mod" if reader.peek(2) == Some("{") => {
                open.push(reader.peek(1).map(str::to_owned));
                reader.place += 3;
            }
            "{" => {
                open.push(None);
                reader.place += 1;
            }
            "}" => {
                open.pop();
                reader.place += 1;
            }
            _ if is_word(token) => {
                let here: Vec<String> = module.iter().chain(open.iter().flatten()).cloned().collect();
                let first = reader.found.len();
                reader.path(&mut Vec::new());
                for named in &mut reader.found[first..] {
                    resolve(&mut named.segments, &here);
                }
            }
            _ => reader.place += 1,
        }
    }
    reader.found
}

/// Names of the modules that `text` declares.
pub fn modules(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    let after_mod = |pair: &[Token]| (pair[0].text == "mod" && is_word(&pair[1].text)).then(|| pair[1].text.clone());
    tokens.windows(2).filter_map(after_mod).collect()
}

struct Token {
    text: String,
    line: usize,
}

struct Reader<'a> {
    tokens: &'a [Token],
    place: usize,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.place + ahead).map(|token| token.text.as_str())
    }

    /// Reads a path or a group of them, behind `before`.
    fn path(&mut self, before: &mut Vec<String>) {
        let depth = before.len();
        let line = self.tokens.get(self.place).map_or(0, |token| token.line);
        loop {
            match self.peek(0) {
                Some("{") => {
                    self.place += 1;
                    while !matches!(self.peek(0), None | Some("}")) {
                        let start = self.place;
                        self.path(before);
                        // `as name` and commas.
                        while !matches!(self.peek(0), None | Some("}" | ",")) {
                            self.place += 1;
                        }
                        if self.peek(0) == Some(",") || self.place == start {
                            self.place += 1;
                        }
                    }
                    self.place += 1;
                    before.truncate(depth);
                    return;
                }
                Some(word) if is_word(word) || word == "*" => {
                    before.push(word.to_owned());
                    self.place += 1;
                }
                _ => break,
            }
            if self.peek(0) != Some("::") {
                break;
            }
            self.place += 1;
            // Type arguments end what can be followed.
            if self.peek(0) == Some("<") {
                break;
            }
        }
        self.found.push(Named {
            segments: before.clone(),
            line,
        });
        before.truncate(depth);
    }
}

/// Makes a path that begins with `self` or `super` begin with `crate`.
fn resolve(segments: &mut Vec<String>, here: &[String]) {
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    let skipped = match segments.first().map(String::as_str) {
        Some("super") => ups,
        Some("self") => 1,
        _ => return,
    };
    let base = &here[..here.len().saturating_sub(ups)];
    let rest = segments.split_off(skipped);
    *segments = std::iter::once("crate".to_owned())
        .chain(base.iter().cloned())
        .chain(rest)
        .collect();
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Without the modules behind `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        let rest = &tokens[place..];
        let marked = rest.len() > MARK.len() && rest.iter().zip(MARK).all(|(token, mark)| token.text == mark);
        if !marked {
            kept.push(Token {
                text: rest[0].text.clone(),
                line: rest[0].line,
            });
            place += 1;
            continue;
        }
        place += MARK.len();
        let mut depth = 0;
        while place < tokens.len() {
            let text = tokens[place].text.as_str();
            place += 1;
            match text {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => (),
            }
            if depth == 0 && (text == "}" || text == ";") {
                break;
            }
        }
    }
    kept
}

/// Words, `::`, and every other sign by itself.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |place: usize| chars.get(place).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let (mut place, mut line) = (0, 1);
    while place < chars.len() {
        let start = place;
        let c = chars[place];
        match c {
            '/' if at(place + 1) == '/' => {
                while place < chars.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            '/' if at(place + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(place), at(place + 1)) {
                        ('/', '*') => (depth, place) = (depth + 1, place + 2),
                        ('*', '/') => (depth, place) = (depth - 1, place + 2),
                        _ => place += 1,
                    }
                    if depth == 0 || place >= chars.len() {
                        break;
                    }
                }
            }
            '"' => place = end_of_string(&chars, place),
            // A character; what is left is a lifetime.
            '\'' if at(place + 1) == '\\' => {
                place += 3;
                while place < chars.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            '\'' if at(place + 2) == '\'' => place += 3,
            '\'' => place += 1,
            c if c.is_alphanumeric() || c == '_' => {
                while at(place).is_alphanumeric() || at(place) == '_' {
                    place += 1;
                }
                let word: String = chars[start..place].iter().collect();
                let hashes = chars[place..].iter().take_while(|c| **c == '#').count();
                if ["r", "br", "cr"].contains(&word.as_str()) && at(place + hashes) == '"' {
                    place = end_of_raw_string(&chars, place + hashes, hashes);
                } else if !(["b", "c"].contains(&word.as_str()) && ['"', '\''].contains(&at(place))) {
                    tokens.push(Token { text: word, line });
                }
            }
            ':' if at(place + 1) == ':' => {
                place += 2;
                tokens.push(Token {
                    text: "::".to_owned(),
                    line,
                });
            }
            c => {
                place += 1;
                if !c.is_whitespace() {
                    tokens.push(Token {
                        text: c.to_string(),
                        line,
                    });
                }
            }
        }
        line += chars[start..place.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut place = start + 1;
    while place < chars.len() && chars[place] != '"' {
        place += if chars[place] == '\\' { 2 } else { 1 };
    }
    place + 1
}

fn end_of_raw_string(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut place = quote + 1;
    while place < chars.len() {
        let closed =
            chars[place] == '"' && chars[place + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        place += 1;
        if closed {
            return place + hashes;
        }
    }
    place
}
