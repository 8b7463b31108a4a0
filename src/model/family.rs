//! Model families: for each architecture, where it differs from the others.

use super::config::{ConfigError, RopeLayout};

/// What makes one architecture different. Everything else comes from metadata.
struct Family {
    /// `general.architecture`
    architecture: &'static str,
    /// How RoPE pairs the elements of a head in files of this architecture.
    rope: RopeLayout,
}

/// The llama converter permutes q and k so that neighbours turn together; files of other architectures keep halves.
const FAMILIES: [Family; 1] = [Family { architecture: "llama", rope: RopeLayout::Interleaved }];

pub(super) fn rope_layout(architecture: &str) -> Result<RopeLayout, ConfigError> {
    FAMILIES.iter().find(|family| family.architecture == architecture).map(|family| family.rope).ok_or_else(|| {
        ConfigError::UnknownArchitecture {
            architecture: architecture.into(),
            known: FAMILIES.map(|family| family.architecture).join(", "),
        }
    })
}
