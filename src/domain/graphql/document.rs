//! A document: its operations, how deep they are, and how many aliases they have.
//!
//! It is read from left to right once, with a stack of its own, so that no nesting costs more than a byte of memory.
//! Fragments are weighed once each, however often they are spread: the numbers are those of the document with every
//! spread written out, and they are had without writing it out.

use std::collections::HashMap;

use super::lexer::{Lexer, NoToken, Token};
use super::{Bounds, Kind, LONGEST, Refusal};

/// A document whose operations are all within bounds.
#[derive(Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The operations, with their names.
    operations: Vec<(Kind, Option<&'a str>)>,
    /// The most aliases that one of them has.
    pub aliases: u64,
    /// Which one that is, in words.
    pub widest: String,
}

impl Document<'_> {
    /// The kind of the operation that a request for `name` executes; without a name: of the only one.
    pub fn kind(&self, name: Option<&str>) -> Kind {
        match name.filter(|name| !name.is_empty()) {
            // Two of one name are for the provider to refuse; until it has, they are the worse of the two.
            Some(name) => {
                let named = self.operations.iter().filter(|(_, has)| *has == Some(name));
                named.map(|(kind, _)| *kind).max().unwrap_or(Kind::Unknown)
            }
            None => match self.operations.as_slice() {
                [(kind, _)] => *kind,
                _ => Kind::Unknown,
            },
        }
    }
}

/// An operation or a fragment as it stands in the document.
struct Definition<'a> {
    /// Absent: a fragment.
    kind: Option<Kind>,
    name: Option<&'a str>,
    weight: Weight,
    /// The fragments that it spreads, each with the number of fields around it.
    spreads: Vec<(&'a str, u64)>,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    depth: u64,
    aliases: u64,
}

/// Reads `text`.
pub fn read<'a>(text: &'a str, bounds: &Bounds) -> Result<Document<'a>, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::TooLong);
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        ahead: None,
    };
    let definitions = parser.document().map_err(|_| Refusal::NotGraphQl {
        line: parser.lexer.line(),
    })?;
    let weights = weigh(&definitions)?;
    let mut document = Document {
        operations: Vec::new(),
        aliases: 0,
        widest: describe(None),
    };
    for (definition, weight) in definitions.iter().zip(weights) {
        let Some(kind) = definition.kind else { continue };
        if weight.depth > bounds.depth {
            return Err(Refusal::TooDeep {
                operation: describe(definition.name),
                depth: weight.depth,
                limit: bounds.depth,
            });
        }
        if weight.aliases > document.aliases || document.operations.is_empty() {
            document.aliases = weight.aliases;
            document.widest = describe(definition.name);
        }
        document.operations.push((kind, definition.name));
    }
    Ok(document)
}

fn describe(name: Option<&str>) -> String {
    /// So much of a name is enough to know it by.
    const SHOWN: usize = 64;
    match name {
        // A name is ASCII.
        Some(name) => format!("the operation `{}`", &name[..name.len().min(SHOWN)]),
        None => "the operation".to_owned(),
    }
}

/// The weight of every operation with its spreads written out, in the places of the definitions; that of a fragment which
/// no operation reaches is its own.
fn weigh(definitions: &[Definition<'_>]) -> Result<Vec<Weight>, Refusal> {
    let mut places = HashMap::new();
    for (place, definition) in definitions.iter().enumerate() {
        if let (None, Some(name)) = (definition.kind, definition.name)
            && places.insert(name, place).is_some()
        {
            return Err(Refusal::TwoFragments(name.to_owned()));
        }
    }
    let mut weights: Vec<_> = definitions.iter().map(|definition| definition.weight).collect();
    let mut done = vec![false; definitions.len()];
    let mut on_the_way = vec![false; definitions.len()];
    for (start, definition) in definitions.iter().enumerate() {
        if definition.kind.is_none() {
            continue;
        }
        // Where it is, and how many of the spreads there are added already.
        let mut way = vec![(start, 0)];
        while let Some((place, added)) = way.last_mut() {
            let place = *place;
            let Some((name, around)) = definitions[place].spreads.get(*added) else {
                (done[place], on_the_way[place]) = (true, false);
                way.pop();
                continue;
            };
            // A fragment that is not there is for the provider to refuse; nothing is executed then.
            match places.get(name) {
                Some(fragment) if on_the_way[*fragment] => return Err(Refusal::Cycle((*name).to_owned())),
                Some(fragment) if !done[*fragment] => {
                    on_the_way[*fragment] = true;
                    way.push((*fragment, 0));
                }
                Some(fragment) => {
                    *added += 1;
                    let inner = weights[*fragment];
                    let outer = &mut weights[place];
                    outer.depth = outer.depth.max(around.saturating_add(inner.depth));
                    outer.aliases = outer.aliases.saturating_add(inner.aliases);
                }
                None => *added += 1,
            }
        }
    }
    Ok(weights)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token<'a>>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, NoToken> {
        match self.ahead.take() {
            Some(token) => Ok(Some(token)),
            None => self.lexer.next(),
        }
    }

    fn must(&mut self) -> Result<Token<'a>, NoToken> {
        self.next()?.ok_or(NoToken)
    }

    fn name(&mut self) -> Result<&'a str, NoToken> {
        match self.must()? {
            Token::Name(name) => Ok(name),
            _ => Err(NoToken),
        }
    }

    /// Takes the next token if it is this punctuator.
    fn eat(&mut self, punctuator: u8) -> Result<bool, NoToken> {
        let next = self.next()?;
        let eaten = next == Some(Token::Punctuator(punctuator));
        if !eaten {
            self.ahead = next;
        }
        Ok(eaten)
    }

    fn document(&mut self) -> Result<Vec<Definition<'a>>, NoToken> {
        let mut definitions = Vec::new();
        loop {
            let kind = match self.next()? {
                None => break,
                // A description.
                Some(Token::Text) => continue,
                Some(Token::Punctuator(b'{')) => {
                    definitions.push(self.definition(Some(Kind::Query), None)?);
                    continue;
                }
                Some(Token::Name("query")) => Some(Kind::Query),
                Some(Token::Name("mutation")) => Some(Kind::Mutation),
                Some(Token::Name("subscription")) => Some(Kind::Subscription),
                Some(Token::Name("fragment")) => None,
                Some(_) => return Err(NoToken),
            };
            let name = match self.next()? {
                Some(Token::Name(name)) => Some(name),
                other => {
                    self.ahead = other;
                    None
                }
            };
            if self.eat(b'(')? {
                self.skip_brackets()?;
            }
            if kind.is_none() {
                self.fragment_condition(name)?;
            }
            self.directives()?;
            if !self.eat(b'{')? {
                return Err(NoToken);
            }
            definitions.push(self.definition(kind, name)?);
        }
        // An operation there must be, or nothing can be executed.
        if definitions.iter().any(|definition| definition.kind.is_some()) {
            Ok(definitions)
        } else {
            Err(NoToken)
        }
    }

    /// `on Type`, behind the name of a fragment.
    fn fragment_condition(&mut self, name: Option<&str>) -> Result<(), NoToken> {
        if name.is_none_or(|name| name == "on") || self.name()? != "on" {
            return Err(NoToken);
        }
        self.name().map(drop)
    }

    /// A definition from behind the `{` of its selection set on.
    fn definition(&mut self, kind: Option<Kind>, name: Option<&'a str>) -> Result<Definition<'a>, NoToken> {
        let mut found = Definition {
            kind,
            name,
            weight: Weight::default(),
            spreads: Vec::new(),
        };
        // The selection sets that are open within the outermost, and whether a field is around each.
        let mut open: Vec<bool> = Vec::new();
        let mut fields = 0;
        loop {
            let is_field = match self.must()? {
                Token::Punctuator(b'}') => {
                    match open.pop() {
                        Some(is_field) => fields -= u64::from(is_field),
                        None => return Ok(found),
                    }
                    continue;
                }
                Token::Name(_) => {
                    if self.eat(b':')? {
                        found.weight.aliases += 1;
                        self.name()?;
                    }
                    found.weight.depth = found.weight.depth.max(fields + 1);
                    if self.eat(b'(')? {
                        self.skip_brackets()?;
                    }
                    self.directives()?;
                    true
                }
                Token::Spread => {
                    match self.must()? {
                        Token::Name("on") => drop(self.name()?),
                        Token::Name(fragment) => {
                            found.spreads.push((fragment, fields));
                            self.directives()?;
                            continue;
                        }
                        other => self.ahead = Some(other),
                    }
                    self.directives()?;
                    false
                }
                Token::Punctuator(_) | Token::Text | Token::Number => return Err(NoToken),
            };
            if self.eat(b'{')? {
                open.push(is_field);
                fields += u64::from(is_field);
            } else if !is_field {
                return Err(NoToken);
            }
        }
    }

    fn directives(&mut self) -> Result<(), NoToken> {
        while self.eat(b'@')? {
            self.name()?;
            if self.eat(b'(')? {
                self.skip_brackets()?;
            }
        }
        Ok(())
    }

    /// Goes on behind the bracket that closes the one that was just read.
    fn skip_brackets(&mut self) -> Result<(), NoToken> {
        let mut closing = vec![b')'];
        while let Some(wanted) = closing.last() {
            match self.must()? {
                Token::Punctuator(b'(') => closing.push(b')'),
                Token::Punctuator(b'[') => closing.push(b']'),
                Token::Punctuator(b'{') => closing.push(b'}'),
                Token::Punctuator(found @ (b')' | b']' | b'}')) => {
                    if found != *wanted {
                        return Err(NoToken);
                    }
                    closing.pop();
                }
                Token::Spread => return Err(NoToken),
                Token::Name(_) | Token::Punctuator(_) | Token::Text | Token::Number => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
