//! The terminal: a block at the bottom that is drawn anew in place, and lines above it that scroll.
//!
//! Where standard output is no terminal there is no block, and everything is a line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// A block of more lines does not stay in place: what scrolled out of the window cannot be drawn over.
pub const MOST_LINES: usize = 20;

/// The terminal. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Screen {
    shared: Arc<Mutex<Block>>,
    has_block: bool,
    log_goes_above: bool,
}

/// What stands at the bottom now.
#[derive(Default)]
struct Block {
    lines: Vec<String>,
}

impl Screen {
    /// The screen of this process.
    pub fn new() -> Self {
        let has_block = io::stdout().is_terminal();
        Self {
            shared: Arc::default(),
            has_block,
            log_goes_above: has_block && io::stderr().is_terminal(),
        }
    }

    /// Whether there is a block that is drawn in place.
    pub fn has_block(&self) -> bool {
        self.has_block
    }

    /// Writes a text above the block.
    pub fn say(&self, text: &str) {
        let block = self.lock();
        write(&block.over(text, &block.lines));
    }

    /// Draws the block anew.
    pub fn draw(&self, lines: Vec<String>) {
        let mut block = self.lock();
        if block.lines != lines {
            write(&block.over("", &lines));
            block.lines = lines;
        }
    }

    /// Leaves the block as it stands; what follows is below it.
    pub fn leave(&self) {
        self.lock().lines.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Block> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    /// What to write so that `text` stands where the block begins, and `lines` below it.
    fn over(&self, text: &str, lines: &[String]) -> String {
        let mut all = String::new();
        if !self.lines.is_empty() {
            // Up to where the block begins; clear from there to the end.
            all += &["\x1b[", &self.lines.len().to_string(), "A\r\x1b[J"].concat();
        }
        all.push_str(text);
        if !lines.is_empty() {
            // A line that is wrapped would count as two: cut it at the edge instead.
            all += &["\x1b[?7l", &lines.join("\n"), "\n\x1b[?7h"].concat();
        }
        all
    }
}

fn write(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that went away (`| head`) is no reason to stop serving.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Log lines go to standard error, above the block where both are the same terminal.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.clone())
    }
}

/// Writes log lines, each in one call.
pub struct LogWriter(Screen);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.log_goes_above {
            self.0.say(&String::from_utf8_lossy(bytes));
        } else {
            io::stderr().lock().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_where_the_block_was_and_the_block_below_it() {
        let empty = Block::default();
        assert_eq!(empty.over("log\n", &[]), "log\n");
        let block = Block {
            lines: vec!["a".into(), "b".into()],
        };
        assert_eq!(
            block.over("log\n", &block.lines),
            "\x1b[2A\r\x1b[Jlog\n\x1b[?7la\nb\n\x1b[?7h"
        );
    }
}
