//! A folder on a web server, natively.

use super::{Address, Files};
use crate::weights::known::http::Retry;
use crate::weights::source::{HttpSource, SourceError};

/// The files in a folder on a web server.
#[derive(Debug, Clone)]
pub struct Site {
    address: Address,
    retry: Retry,
}

impl Site {
    /// The folder at `address`.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, retry: Retry::default() }
    }
}

impl Files for Site {
    type Source = HttpSource;

    async fn open(&mut self, name: &str) -> Result<Option<HttpSource>, SourceError> {
        HttpSource::find(&self.address.file(name), self.retry)
    }

    fn place(&self, name: &str) -> String {
        self.address.file(name)
    }
}
