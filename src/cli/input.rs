//! Where a chat's messages come from: a terminal with line editing, or a pipe with one message a line.

use super::exit::Failure;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{BufRead, IsTerminal};

/// What came.
pub enum Line {
    /// A line of text.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// The end.
    End,
}

/// A source of lines.
pub enum Input {
    /// With editing and history.
    Terminal(Box<DefaultEditor>),
    /// As it comes.
    Pipe,
}

impl Input {
    /// A terminal if both ends of the program are one.
    pub fn new() -> Result<Self, Failure> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            let editor = DefaultEditor::new().map_err(|error| Failure::other(format!("cannot use the terminal: {error}")))?;
            return Ok(Self::Terminal(Box::new(editor)));
        }
        Ok(Self::Pipe)
    }

    /// Somebody sits there.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line, without its end and the space around it.
    pub fn next(&mut self) -> Result<Line, Failure> {
        let unreadable = |error: &dyn std::error::Error| Failure::other(format!("cannot read the next message: {error}"));
        match self {
            Self::Terminal(editor) => match editor.readline("> ") {
                Ok(text) => {
                    // Only a history that is full or switched off refuses a line.
                    let _ = editor.add_history_entry(&text);
                    Ok(Line::Text(text.trim().to_owned()))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(unreadable(&error)),
            },
            Self::Pipe => {
                let mut text = String::new();
                match std::io::stdin().lock().read_line(&mut text) {
                    Ok(0) => Ok(Line::End),
                    Ok(_) => Ok(Line::Text(text.trim().to_owned())),
                    Err(error) => Err(unreadable(&error)),
                }
            }
        }
    }
}
