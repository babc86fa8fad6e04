//! Objects as `kubectl get` prints them: the columns are those of the CRDs, so they are written down once.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use serde_json::Value as Json;

use crate::api;

/// A table of one kind of objects.
pub struct Table {
    columns: Vec<Column>,
}

struct Column {
    title: String,
    path: Vec<Step>,
    is_date: bool,
}

/// A step of a path like `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    /// The item whose field has this value.
    Item(String, String),
}

/// The cells of one object, the first two being its namespace and name.
pub type Row = Vec<String>;

impl Table {
    /// The table of the kind with this name, such as `Integration`.
    pub fn of(kind: &str) -> Self {
        let crd = api::crds::all().into_iter().find(|crd| crd.spec.names.kind == kind);
        let version = crd.and_then(|crd| crd.spec.versions.into_iter().next());
        let columns = version
            .and_then(|version| version.additional_printer_columns)
            .unwrap_or_default();
        // What has a priority is for `-o wide`.
        let columns = columns.iter().filter(|column| column.priority.unwrap_or(0) == 0);
        Self {
            columns: columns.map(Column::of).collect(),
        }
    }

    /// The titles, upper case.
    pub fn titles(&self) -> Row {
        let fixed = ["NAMESPACE".to_owned(), "NAME".to_owned()];
        fixed
            .into_iter()
            .chain(self.columns.iter().map(|column| column.title.clone()))
            .collect()
    }

    /// The cells of an object, given as JSON.
    pub fn row(&self, object: &Json, now: Timestamp) -> Row {
        let fixed =
            ["namespace", "name"].map(|field| object["metadata"][field].as_str().unwrap_or_default().to_owned());
        fixed
            .into_iter()
            .chain(self.columns.iter().map(|column| column.cell(object, now)))
            .collect()
    }

    /// The row without the cells that change by themselves.
    pub fn lasting(&self, row: &Row) -> Row {
        let moving = |index: usize| index >= 2 && self.columns.get(index - 2).is_some_and(|column| column.is_date);
        row.iter()
            .enumerate()
            .filter(|(index, _)| !moving(*index))
            .map(|(_, cell)| cell.clone())
            .collect()
    }
}

impl Column {
    fn of(definition: &CustomResourceColumnDefinition) -> Self {
        Self {
            title: definition.name.to_uppercase(),
            path: steps(&definition.json_path),
            is_date: definition.type_ == "date",
        }
    }

    fn cell(&self, object: &Json, now: Timestamp) -> String {
        let found = self.path.iter().try_fold(object, |value, step| match step {
            Step::Field(name) => value.get(name),
            Step::Item(name, wanted) => value.as_array()?.iter().find(|item| item[name] == wanted.as_str()),
        });
        match found {
            None | Some(Json::Null) if self.is_date => "<none>".into(),
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) if self.is_date => {
                text.parse().map_or_else(|_| "<invalid>".into(), |time| age(time, now))
            }
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(filter) = rest.strip_prefix("[?(@.") {
            let (inside, after) = filter.split_once(")]").unwrap_or((filter, ""));
            let (name, value) = inside.split_once("==").unwrap_or((inside, ""));
            steps.push(Step::Item(name.into(), value.trim_matches('"').into()));
            rest = after;
        } else {
            rest = rest.trim_start_matches('.');
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Field(rest[..end].into()));
            rest = &rest[end..];
        }
    }
    steps
}

/// How long ago, as kubectl writes it: the two largest units while the first is small. What is yet to come has an `in`.
fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - time.as_second();
    let text = length(seconds.unsigned_abs());
    if seconds < 0 { format!("in {text}") } else { text }
}

fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// Rows under each other, with three blanks between columns as kubectl has them.
pub fn aligned(rows: &[Row]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_columns_are_those_of_the_contract() {
        let integration = [
            "NAMESPACE",
            "NAME",
            "READY",
            "HEALTHY",
            "CIRCUIT",
            "ENDPOINTS",
            "WORKERS",
            "AGE",
        ];
        assert_eq!(Table::of("Integration").titles(), integration);
        let credential = [
            "NAMESPACE",
            "NAME",
            "READY",
            "TYPE",
            "REVISION",
            "EXPIRES",
            "RENEWS",
            "AGE",
        ];
        assert_eq!(Table::of("Credential").titles(), credential);
    }

    #[test]
    fn a_row_has_what_the_paths_lead_to() {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "status": {"circuit": "Open", "readyReplicas": 1, "endpointsHealthy": "0/1", "conditions": [
                {"type": "Accepted", "status": "Unknown"}, {"type": "Ready", "status": "True"},
            ]},
        });
        let table = Table::of("Integration");
        let row = table.row(&object, Timestamp::from_second(75).unwrap());
        assert_eq!(row, ["shop", "a", "True", "", "Open", "0/1", "1", "75s"]);
        assert_eq!(table.lasting(&row), ["shop", "a", "True", "", "Open", "0/1", "1"]);
    }

    #[test]
    fn ages_are_as_kubectl_writes_them() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (8_000_000, "92d"),
        ] {
            assert_eq!(length(seconds), text, "{seconds}");
        }
        assert_eq!(
            age(Timestamp::from_second(60).unwrap(), Timestamp::UNIX_EPOCH),
            "in 60s"
        );
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["A".to_owned(), "BB".into()], vec!["long".into(), String::new()]];
        assert_eq!(aligned(&rows), ["A      BB", "long"]);
    }
}
