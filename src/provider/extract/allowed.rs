//! Which jq filters are accepted: those whose work is bounded by the text and the answer.
//!
//! What multiplies is refused or counted. Loops are those over what is there (`.[]`, `map`, `..`), and each output is a
//! part of its input, so that a pipe of them visits nothing twice. What combines (operators, keys, conditions) takes
//! operands of one output alone, because jq would go through all pairs. What doubles (`,`, `+`, text with filters in
//! it) may be there a few times. There are no definitions, variables, folds, labels, updates and no recursion but `..`.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Math;
use jaq_core::path::Part;

/// Most terms.
const TERMS: usize = 64;
/// Most terms that double.
const DOUBLING: usize = 4;

/// Filters without arguments that give one output.
const PLAIN: &[&str] = &[
    "all",
    "any",
    "ascii_downcase",
    "ascii_upcase",
    "false",
    "first",
    "keys",
    "last",
    "length",
    "not",
    "now",
    "null",
    "to_entries",
    "tostring",
    "trim",
    "true",
    "type",
];
/// Filters without arguments that give their input or nothing.
const SELECTING: &[&str] = &[
    "arrays", "booleans", "empty", "nulls", "numbers", "objects", "scalars", "strings", "values",
];
/// Filters of one argument, itself of one output, that give one output.
const COMPARING: &[&str] = &["endswith", "has", "ltrimstr", "rtrimstr", "split", "startswith"];

/// How many outputs a term may have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outputs {
    /// One, or none.
    One,
    /// Any number.
    Many,
}
use Outputs::{Many, One};

#[derive(Default)]
struct Count {
    terms: usize,
    doubling: usize,
    recursions: usize,
    /// What writes a value as text: quotes and backslashes double each time.
    texts: usize,
}

/// Most bytes that a filter may make of an answer.
const MEMORY: usize = 256 << 20;
/// Bytes that a value takes, which may be one character of the answer.
const VALUE: usize = 64;

/// Whether `text` is accepted; else what it must be.
pub fn check(text: &str) -> Result<(), String> {
    let term = jaq_core::load::parse(text, |parser| parser.term());
    let term = term.ok_or("must be a jq filter")?;
    let mut count = Count::default();
    count.term(&term)?;
    if count.terms > TERMS || count.doubling > DOUBLING || count.recursions > 1 {
        return Err(format!(
            "must be a shorter filter: at most {TERMS} terms, {DOUBLING} of `,`, `+`, object fields and text with filters \
             in it, and one `..`"
        ));
    }
    Ok(())
}

/// Whether the accepted filter `text` stays within [`MEMORY`] on an answer of that many bytes and levels. Few answers are
/// so large and few filters so greedy that it does not; together they could take all that there is.
pub fn fits(text: &str, bytes: usize, levels: usize) -> bool {
    let mut count = Count::default();
    let term = jaq_core::load::parse(text, |parser| parser.term());
    let counted = term.is_some_and(|term| count.term(&term).is_ok());
    let doublings = u32::try_from(count.doubling + count.texts).unwrap_or(u32::MAX);
    // `..` visits what is at the bottom once, and has it in each of its outputs above.
    let levels = if count.recursions > 0 { levels.max(1) } else { 1 };
    let made = 1usize.checked_shl(doublings).and_then(|made| {
        let made = made.checked_mul(levels)?.checked_mul(bytes)?;
        made.checked_mul(VALUE)
    });
    counted && made.is_some_and(|made| made <= MEMORY)
}

impl Count {
    fn term(&mut self, term: &Term<&str>) -> Result<Outputs, String> {
        self.terms += 1;
        match term {
            Term::Id | Term::Num(_) | Term::Arr(None) | Term::Var("$attempt") => Ok(One),
            Term::Recurse => {
                self.recursions += 1;
                Ok(Many)
            }
            Term::Str(None, parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        self.doubling += 1;
                        self.texts += 1;
                        self.one(term)?;
                    }
                }
                Ok(One)
            }
            Term::Arr(Some(inner)) => self.term(inner).map(|_| One),
            Term::Obj(fields) => {
                self.doubling += fields.len();
                for (key, value) in fields {
                    self.one(key)?;
                    value.iter().try_for_each(|value| self.one(value))?;
                }
                Ok(One)
            }
            Term::Neg(inner) => self.one(inner).map(|()| One),
            Term::TryCatch(inner, None) => self.term(inner),
            Term::IfThenElse(branches, otherwise) => {
                let mut outputs = One;
                for (condition, then) in branches {
                    self.one(condition)?;
                    outputs = outputs.max(self.term(then)?);
                }
                match otherwise {
                    Some(otherwise) => Ok(outputs.max(self.term(otherwise)?)),
                    None => Ok(outputs),
                }
            }
            Term::BinOp(left, operator, right) => self.operation(left, operator, right),
            Term::Path(head, path) => {
                let mut outputs = self.term(head)?;
                for (part, _) in &path.0 {
                    self.terms += 1;
                    match part {
                        Part::Index(index) => literal(index)?,
                        Part::Range(None, None) => outputs = Many,
                        Part::Range(from, to) => [from, to].into_iter().flatten().try_for_each(literal)?,
                    }
                }
                Ok(outputs)
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            Term::Str(Some(_), _) => Err("must not have `@` formats".to_owned()),
            Term::Var(_) => Err("must not use variables but `$attempt`".to_owned()),
            Term::Fold(..) => Err("must not use `reduce` and `foreach`".to_owned()),
            Term::Def(..) => Err("must not define filters".to_owned()),
            Term::Label(..) | Term::Break(_) | Term::TryCatch(_, Some(_)) => {
                Err("must not use `label`, `break` and `catch`".to_owned())
            }
        }
    }

    fn operation(
        &mut self,
        left: &Term<&str>,
        operator: &BinaryOp<&str>,
        right: &Term<&str>,
    ) -> Result<Outputs, String> {
        match operator {
            BinaryOp::Pipe(None) | BinaryOp::Alt => Ok(self.term(left)?.max(self.term(right)?)),
            BinaryOp::Comma => {
                self.doubling += 1;
                self.term(left)?;
                self.term(right)?;
                Ok(Many)
            }
            BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_) | BinaryOp::Math(Math::Add | Math::Div) => {
                if let BinaryOp::Math(Math::Add) = operator {
                    self.doubling += 1;
                }
                self.one(left)?;
                self.one(right)?;
                Ok(One)
            }
            BinaryOp::Math(_) => Err("must not use arithmetic but `+` and `/`".to_owned()),
            BinaryOp::Pipe(Some(_)) => Err("must not bind variables".to_owned()),
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                Err("must not assign".to_owned())
            }
        }
    }

    fn call(&mut self, name: &str, arguments: &[Term<&str>]) -> Result<Outputs, String> {
        match arguments {
            [] if PLAIN.contains(&name) || SELECTING.contains(&name) => {
                self.texts += usize::from(name == "tostring");
                Ok(One)
            }
            [argument] if COMPARING.contains(&name) || ["select", "any", "all"].contains(&name) => {
                self.one(argument).map(|()| One)
            }
            [argument] if ["first", "map"].contains(&name) => self.term(argument).map(|_| One),
            _ => Err(format!(
                "must not call `{}/{}`; there are {}, and {}, `select`, `map`, `first`, `any` and `all` of one argument",
                name.chars().take(32).collect::<String>(),
                arguments.len(),
                [PLAIN, SELECTING].concat().join(", "),
                COMPARING.join(", "),
            )),
        }
    }

    /// A term that must have one output, because every one of it is combined with every one of another.
    fn one(&mut self, term: &Term<&str>) -> Result<(), String> {
        match self.term(term)? {
            One => Ok(()),
            Many => Err(
                "must not have `.[]`, `..` or `,` in an operand, a condition, an object or an argument; put it in `first()` \
                 or `[]`"
                    .to_owned(),
            ),
        }
    }
}

/// An index must be written down: a computed one would be computed from the whole input for every output.
fn literal(term: &Term<&str>) -> Result<(), String> {
    match term {
        Term::Num(_) => Ok(()),
        Term::Neg(inner) if matches!(**inner, Term::Num(_)) => Ok(()),
        Term::Str(None, parts) if !parts.iter().any(|part| matches!(part, StrPart::Term(_))) => Ok(()),
        _ => Err("must not compute an index".to_owned()),
    }
}

/// Every filter that is offered, called.
#[cfg(test)]
pub fn offered() -> Vec<String> {
    let plain = PLAIN.iter().chain(SELECTING).map(|name| (*name).to_owned());
    let comparing = COMPARING.iter().map(|name| format!("{name}(\"a\")"));
    let others = ["select", "any", "all", "first", "map"].map(|name| format!("{name}(.)"));
    plain.chain(comparing).chain(others).collect()
}
