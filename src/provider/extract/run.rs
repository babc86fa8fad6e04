//! Compiles and runs accepted filters, on whatever thread this is called.

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, ValT, Vars, data, unwrap_valr};
use jaq_json::{Num, Val};

use super::found::{Found, Given};
use super::{Around, allowed};
use crate::domain::secret::SecretValue;

type Data = data::JustLut<Val>;
type Filter = jaq_core::Filter<Data>;

/// What of the standard library is written in jq and offered or needed: names and numbers of arguments.
const DEFINED: &[(&str, usize)] = &[
    ("arrays", 0),
    ("booleans", 0),
    ("isarray", 0),
    ("isboolean", 0),
    ("isnumber", 0),
    ("isobject", 0),
    ("isstring", 0),
    ("keys", 0),
    ("null", 0),
    ("nulls", 0),
    ("numbers", 0),
    ("objects", 0),
    ("scalars", 0),
    ("split", 1),
    ("strings", 0),
    ("type", 0),
    ("values", 0),
];

/// Whether `text` compiles; else what it must be.
pub fn compiles(text: &str) -> Result<(), String> {
    let unknown = "must be a jq filter of what is known here";
    compile(text).map(|_| ()).ok_or_else(|| unknown.to_owned())
}

fn compile(text: &str) -> Option<Filter> {
    // `now` would ask the clock of the machine; who runs the filter knows the time.
    let code = format!("def now: $now; {text}");
    let arena = Arena::default();
    // The rest of the library needs functions that are left out, and would not compile.
    let wanted = jaq_std::defs().filter(|it| DEFINED.contains(&(it.name, it.args.len())));
    let modules = Loader::new(jaq_core::defs().chain(wanted));
    let modules = modules.load(&arena, File { code: &code, path: () }).ok()?;
    let functions = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
    Compiler::default()
        .with_funs(functions)
        .with_global_vars(["$now", "$attempt"])
        .compile(modules)
        .ok()
}

/// The first `most` outputs of each filter, `None` for one that fails; `None` if the answer is no JSON.
pub fn all(texts: &[String], answer: &SecretValue, around: &Around, most: usize) -> Option<Vec<Option<Given>>> {
    // serde_json bounds the nesting, and knows JSON alone.
    let input: serde_json::Value = serde_json::from_str(answer.expose()).ok()?;
    let levels = levels(&input);
    let input = value(&input)?;
    let now = value(&serde_json::json!(around.now.as_second()))?;
    let attempt = serde_json::json!({ "id": around.attempt_id });
    let attempt = value(&attempt)?;
    let each = texts.iter().map(|text| {
        if !allowed::fits(text, answer.expose().len(), levels) {
            return None;
        }
        let filter = compile(text)?;
        let variables = Vars::new([now.clone(), attempt.clone()]);
        let context = Ctx::<Data>::new(&filter.lut, variables);
        let outputs = filter.id.run((context, input.clone())).map(unwrap_valr).take(most);
        outputs.map(|output| Some(found(&output.ok()?))).collect()
    });
    Some(each.collect())
}

/// How deep it is nested: 1 for what holds nothing.
fn levels(json: &serde_json::Value) -> usize {
    let inner = match json {
        serde_json::Value::Array(items) => items.iter().map(levels).max(),
        serde_json::Value::Object(fields) => fields.values().map(levels).max(),
        _ => None,
    };
    1 + inner.unwrap_or(0)
}

fn value(json: &serde_json::Value) -> Option<Val> {
    use serde_json::Value;
    Some(match json {
        Value::Null => Val::Null,
        Value::Bool(it) => Val::from(*it),
        Value::Number(number) => Val::from_num(&number.to_string()).ok()?,
        Value::String(text) => Val::from(text.clone()),
        Value::Array(items) => items.iter().map(value).collect::<Option<Val>>()?,
        Value::Object(fields) => {
            let field = |(key, it): (&String, &Value)| Some((Val::from(key.clone()), value(it)?));
            let fields: Option<Vec<(Val, Val)>> = fields.iter().map(field).collect();
            Val::from_map(fields?).ok()?
        }
    })
}

fn found(output: &Val) -> Found {
    match output {
        Val::Null => Found::Null,
        Val::TStr(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Found::Text(SecretValue::new(text)),
            Err(_) => Found::Other,
        },
        Val::Num(Num::Int(_) | Num::BigInt(_)) => Found::Whole(output.to_string()),
        Val::Num(_) => output.to_string().parse().map_or(Found::Other, Found::Fraction),
        Val::Arr(items) => Found::List(items.iter().map(found).collect()),
        Val::Bool(_) | Val::BStr(_) | Val::Obj(_) => Found::Other,
    }
}
