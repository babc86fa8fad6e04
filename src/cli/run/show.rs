//! The table of what is served: in place on a terminal, elsewhere a line for each row that changed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::screen::{MOST_LINES, Screen};
use crate::cluster::files::Store;
use crate::standalone::table::{Row, Table, aligned};

/// Ages are brought up to date this often.
const TICK: Duration = Duration::from_secs(1);
/// What changes together is shown together.
const TOGETHER: Duration = Duration::from_millis(50);

/// The two tables.
struct View {
    kinds: [(&'static str, Table); 2],
    /// Rows that were printed, without what changes by itself; by kind, namespace and name.
    printed: BTreeMap<(&'static str, String, String), Row>,
}

/// Shows the objects of `store` until `stop`.
pub async fn show(screen: Screen, store: Store, stop: CancellationToken) {
    let mut view = View::new();
    let mut touched = store.touched();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        touched.borrow_and_update();
        view.show(&screen, &store, Timestamp::now());
        tokio::select! {
            () = stop.cancelled() => break,
            _ = touched.changed() => tokio::time::sleep(TOGETHER).await,
            _ = tick.tick() => (),
        }
    }
    view.show(&screen, &store, Timestamp::now());
    screen.leave();
}

impl View {
    fn new() -> Self {
        Self {
            kinds: ["Integration", "Credential"].map(|kind| (kind, Table::of(kind))),
            printed: BTreeMap::new(),
        }
    }

    fn show(&mut self, screen: &Screen, store: &Store, now: Timestamp) {
        let objects = [json(&store.integrations()), json(&store.credentials())];
        let rows = [0, 1].map(|kind| {
            objects[kind]
                .iter()
                .map(|object| self.kinds[kind].1.row(object, now))
                .collect()
        });
        let block = self.block(&rows);
        if screen.has_block() && block.len() <= MOST_LINES {
            screen.draw(block);
            return;
        }
        if screen.has_block() {
            screen.draw(Vec::new());
        }
        let news = self.news(&rows);
        if !news.is_empty() {
            screen.say(&format!("{}\n", news.join("\n")));
        }
    }

    /// Both tables as they stand on a terminal.
    fn block(&self, rows: &[Vec<Row>; 2]) -> Vec<String> {
        let mut lines = Vec::new();
        for ((_, table), rows) in self.kinds.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            let titled: Vec<Row> = std::iter::once(table.titles()).chain(rows.iter().cloned()).collect();
            lines.extend(aligned(&titled));
        }
        lines
    }

    /// A line for each row that is not as it was printed, and for each that is gone: `TITLE=cell` pairs, which say what
    /// they are wherever they end up.
    fn news(&mut self, rows: &[Vec<Row>; 2]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut printed = BTreeMap::new();
        for ((kind, table), rows) in self.kinds.iter().zip(rows) {
            let titles = table.lasting(&table.titles());
            for row in rows {
                let lasting = table.lasting(row);
                let key = (*kind, row[0].clone(), row[1].clone());
                if self.printed.remove(&key).as_ref() != Some(&lasting) {
                    let cells = titles.iter().zip(&lasting).skip(2).filter(|(_, cell)| !cell.is_empty());
                    let cells: Vec<_> = cells.map(|(title, cell)| format!("{title}={cell}")).collect();
                    let line = format!("{kind} {}/{} {}", row[0], row[1], cells.join(" "));
                    lines.push(line.trim_end().to_owned());
                }
                printed.insert(key, lasting);
            }
        }
        for (kind, namespace, name) in self.printed.keys() {
            lines.push(format!("{kind} {namespace}/{name} deleted"));
        }
        self.printed = printed;
        lines
    }
}

fn json<T: Serialize>(objects: &[T]) -> Vec<serde_json::Value> {
    // What came from a manifest goes back to JSON; if something did not, its row would be empty.
    objects
        .iter()
        .map(|object| serde_json::to_value(object).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, circuit: &str, age: &str) -> Row {
        ["shop", name, "True", "", circuit, "1/1", "1", age]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn only_rows_that_changed_are_news() {
        let mut view = View::new();
        let said = view.news(&[vec![row("a", "Closed", "1s"), row("b", "Closed", "1s")], vec![]]);
        assert_eq!(
            said[0],
            "Integration shop/a READY=True CIRCUIT=Closed ENDPOINTS=1/1 WORKERS=1"
        );
        assert_eq!(said.len(), 2);
        assert!(
            view.news(&[vec![row("a", "Closed", "2s"), row("b", "Closed", "2s")], vec![]])
                .is_empty()
        );
        let said = view.news(&[vec![row("b", "Open", "3s")], vec![]]);
        assert_eq!(said.len(), 2);
        assert!(said[0].contains("CIRCUIT=Open"));
        assert_eq!(said[1], "Integration shop/a deleted");
    }

    #[test]
    fn a_table_without_rows_is_left_out() {
        let lines = View::new().block(&[vec![row("a", "Closed", "1s")], vec![]]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("NAMESPACE   NAME"), "{lines:?}");
    }
}
