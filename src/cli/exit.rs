//! How the program ends: the exit code and one paragraph on stderr.

use kinglet::engine::{Error, ErrorKind};
use kinglet::weights::known::FetchError;
use std::process::ExitCode;

/// Arguments that make no sense.
const ARGUMENTS: u8 = 2;
/// A model file that is bad or not supported.
const MODEL: u8 = 3;
/// No usable GPU.
const NO_GPU: u8 = 4;
/// Memory ran out.
const MEMORY: u8 = 5;
/// Anything else.
const OTHER: u8 = 1;

/// Why the program ends early.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong.
    Error {
        /// The exit code.
        code: u8,
        /// What, where, and what to do.
        message: String,
    },
    /// Whoever read stdout went away: nothing to say, nobody to say it to.
    BrokenPipe,
}

impl Failure {
    /// Arguments that make no sense.
    pub fn arguments(message: impl Into<String>) -> Self {
        Self::Error { code: ARGUMENTS, message: message.into() }
    }

    /// A model file that cannot be used.
    pub fn model(message: impl Into<String>) -> Self {
        Self::Error { code: MODEL, message: message.into() }
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Self {
        Self::Error { code: OTHER, message: message.into() }
    }

    /// The caller's doing, and nothing is broken: a chat can go on.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Error { code: ARGUMENTS | MODEL, .. })
    }

    /// Writes the message to stderr.
    pub fn tell(&self) {
        if let Self::Error { message, .. } = self {
            let paragraph: Vec<&str> = message.split_whitespace().collect();
            super::output::note(format_args!("kinglet: {}", paragraph.join(" ")));
        }
    }

    /// Writes the message to stderr and gives the exit code.
    pub fn report(self) -> ExitCode {
        self.tell();
        match self {
            Self::Error { code, .. } => ExitCode::from(code),
            Self::BrokenPipe => ExitCode::SUCCESS,
        }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let code = match error.kind() {
            ErrorKind::Arguments => ARGUMENTS,
            ErrorKind::Model => MODEL,
            ErrorKind::NoGpu => NO_GPU,
            ErrorKind::Memory => MEMORY,
            ErrorKind::Aborted | ErrorKind::Other => OTHER,
        };
        Self::Error { code, message: error.to_string() }
    }
}

/// For what [`FetchError`] says.
pub fn fetch_failure(error: &FetchError) -> Failure {
    let code = match error {
        FetchError::UnknownName { .. } => ARGUMENTS,
        FetchError::Integrity { .. } | FetchError::Length { .. } => MODEL,
        _ => OTHER,
    };
    Failure::Error { code, message: error.to_string() }
}

/// For writing to stdout.
pub fn write_failure(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::other(format!("cannot write to stdout: {error}")),
    }
}
