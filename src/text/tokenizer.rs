//! The tokenizer: a vocabulary with a model that encodes plain text.

use super::bpe::{Bpe, MERGES};
use super::detokenizer::Detokenizer;
use super::error::TokenizerError;
use super::fragments::{Fragment, Specials};
use super::guard::{self, Rendered};
use super::json::Json;
use super::pretokenizers;
use super::spm::{self, Spm};
use super::vocab::{self, Kind, Pieces, RoleDefaults, Roles};
use crate::weights::gguf::Metadata;

const MODEL: &str = "tokenizer.ggml.model";
/// A whole tokenizer.json.
pub(super) const HUGGING_FACE: &str = "tokenizer.huggingface.json";
const SCORES: &str = "tokenizer.ggml.scores";
const MODELS: &[&str] = &["gpt2", "llama"];

/// Text to ids and back, as one model's vocabulary has it.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) model: Model,
    pub(super) pieces: Pieces,
    pub(super) kinds: Vec<Kind>,
    pub(super) specials: Specials,
    pub(super) roles: Roles,
    pub(super) spaces: Spaces,
}

#[derive(Debug)]
pub(super) enum Model {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
    Json(Box<Json>),
}

/// SentencePiece's rules for spaces.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spaces {
    /// A text is encoded as if a space stood before it, and decoding takes that space away again.
    pub add_prefix: bool,
    /// Runs of spaces become one space, and those at both ends go.
    pub remove_extra: bool,
}

/// What stands before a piece of text.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Nothing but the BOS token.
    start: bool,
    /// Nothing, or a special token.
    after_special: bool,
}

impl Place {
    const START: Self = Self { start: true, after_special: true };
    const AFTER_SPECIAL: Self = Self { start: false, after_special: true };
    const AFTER_TEXT: Self = Self { start: false, after_special: false };
}

/// Whether the token that begins a text is put in front.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddBos {
    /// As the file says (`tokenizer.ggml.add_bos_token`).
    #[default]
    FromModel,
    /// Never.
    No,
    /// Always; an error if the vocabulary has none.
    Yes,
}

/// How [`Tokenizer::encode`] reads a text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Encode {
    /// Texts of control tokens, such as `<|im_start|>`, become those tokens. Never for text that a user wrote.
    pub parse_special: bool,
    /// The token in front. The token at the end (`tokenizer.ggml.add_eos_token`) goes with it: `No` adds neither.
    pub add_bos: AddBos,
}

/// How [`Tokenizer::decode`] writes ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecodeOptions {
    /// Control tokens appear as their texts; otherwise they are left out.
    pub special: bool,
}

impl Tokenizer {
    /// From a GGUF file's `tokenizer.ggml.*` keys, or, where it has none of them, from the tokenizer.json that it carries
    /// (`tokenizer.huggingface.json`).
    ///
    /// # Errors
    /// A tokenizer model or pre-tokenizer that is not supported, or a vocabulary that contradicts itself.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        if let (None, Some(json)) = (metadata.get(MODEL), metadata.string(HUGGING_FACE)?) {
            return Self::carried(metadata, json);
        }
        let model = metadata.string(MODEL)?.ok_or(TokenizerError::MissingKey { key: MODEL })?;
        match model {
            "gpt2" => Self::bpe_from_gguf(metadata),
            "llama" => Self::spm_from_gguf(metadata),
            name => Err(TokenizerError::UnknownModel { name: name.to_owned(), known: MODELS }),
        }
    }

    /// From the bytes of a `tokenizer.json` (the `tokenizers` library's format) and, if there is one, of the
    /// `tokenizer_config.json` beside it, which names the tokens that begin and end a text.
    ///
    /// # Errors
    /// What in which file is not as it should be.
    pub fn from_json(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Self, TokenizerError> {
        super::json::load(tokenizer, config, usize::MAX)
    }

    /// From a tokenizer.json among the metadata, with what else Kinglet's reader of Hugging Face's files puts there.
    fn carried(metadata: &Metadata, json: &str) -> Result<Self, TokenizerError> {
        let config = metadata.string("kinglet.tokenizer_config.json")?;
        // Some files add tokens for which the model has no rows.
        let rows = match metadata.string("general.architecture")? {
            Some(architecture) => metadata.u32(&format!("{architecture}.vocab_size"))?,
            None => None,
        };
        let mut tokenizer =
            super::json::load(json.as_bytes(), config.map(str::as_bytes), rows.map_or(usize::MAX, |rows| rows as usize))?;
        let size = tokenizer.pieces.len();
        let ends = metadata.u32s("kinglet.end_of_generation_ids")?.unwrap_or_default();
        let known = &mut tokenizer.roles.end_of_generation;
        known.extend(ends.into_iter().filter(|id| (*id as usize) < size));
        known.sort_unstable();
        known.dedup();
        Ok(tokenizer)
    }

    fn bpe_from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let name = metadata.string("tokenizer.ggml.pre")?.unwrap_or(pretokenizers::DEFAULT);
        let pre = pretokenizers::find(name).ok_or_else(|| TokenizerError::UnknownPreTokenizer {
            name: name.to_owned(),
            known: pretokenizers::known_pre_tokenizers(),
        })?;
        let tokens = vocab::tokens(metadata)?;
        let kinds = vocab::kinds(metadata, tokens)?;
        let merges = metadata.strings(MERGES)?.ok_or(TokenizerError::MissingKey { key: MERGES })?;
        let roles = vocab::roles(metadata, tokens, RoleDefaults { add_bos: pre.add_bos, ..RoleDefaults::default() })?;
        let specials = vocab::specials(metadata, tokens, &kinds)?;
        Ok(Self {
            model: Model::Bpe(Box::new(Bpe::new(tokens, &kinds, merges, pre)?)),
            pieces: Bpe::pieces(tokens, &kinds),
            kinds,
            specials: Specials::new(&specials),
            roles,
            spaces: Spaces { add_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(false), remove_extra: false },
        })
    }

    fn spm_from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let tokens = vocab::tokens(metadata)?;
        let kinds = vocab::kinds(metadata, tokens)?;
        let scores = metadata.f32s(SCORES)?.ok_or(TokenizerError::MissingKey { key: SCORES })?;
        if scores.len() != tokens.len() {
            return Err(TokenizerError::WrongLength { key: SCORES, found: scores.len(), expected: tokens.len() });
        }
        let roles = vocab::roles(metadata, tokens, RoleDefaults { bos: Some(1), eos: Some(2), unknown: Some(0), add_bos: true })?;
        let specials = vocab::specials(metadata, tokens, &kinds)?;
        Ok(Self {
            model: Model::Spm(Box::new(Spm::new(tokens, &kinds, scores, roles.unknown)?)),
            pieces: spm::pieces(tokens, &kinds),
            kinds,
            specials: Specials::new(&specials),
            roles,
            spaces: Spaces {
                add_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
                remove_extra: metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
            },
        })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// A BOS token is asked for and there is none, or a character has no token at all.
    pub fn encode(&self, text: &str, options: Encode) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        let add = match options.add_bos {
            AddBos::FromModel => self.roles.add_bos,
            AddBos::No => false,
            AddBos::Yes => true,
        };
        if add {
            ids.push(self.roles.bos.ok_or(TokenizerError::NoSuchToken { what: "a token to begin the text" })?);
        }
        let mut place = Place::START;
        for fragment in self.specials.partition(text, options.parse_special) {
            self.encode_fragment(fragment, &mut place, &mut ids)?;
        }
        if self.roles.add_eos && options.add_bos != AddBos::No {
            ids.push(self.roles.eos.ok_or(TokenizerError::NoSuchToken { what: "a token to end the text" })?);
        }
        Ok(ids)
    }

    /// The ids of a rendered chat: the template's special tokens are tokens, what looks like one in a message is text.
    /// The BOS token is put in front if the file says so and the template has not done it.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(rendered.guarded().len() / 4 + 2);
        let mut place = Place::START;
        for fragment in self.specials.partition(rendered.guarded(), true) {
            match fragment {
                Fragment::Token(_) => self.encode_fragment(fragment, &mut place, &mut ids)?,
                Fragment::Text(guarded) => {
                    let plain = guard::remove(guarded);
                    for fragment in self.specials.partition(&plain, false) {
                        self.encode_fragment(fragment, &mut place, &mut ids)?;
                    }
                }
            }
        }
        if let Some(bos) = self.roles.bos
            && self.roles.add_bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    fn encode_fragment(&self, fragment: Fragment<'_>, place: &mut Place, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        match fragment {
            Fragment::Token(id) => {
                ids.push(id);
                *place = Place::AFTER_SPECIAL;
                Ok(())
            }
            Fragment::Text(text) => {
                let place = std::mem::replace(place, Place::AFTER_TEXT);
                match &self.model {
                    Model::Bpe(model) if place.after_special && self.spaces.add_prefix => model.encode(&[" ", text].concat(), ids),
                    Model::Bpe(model) => model.encode(text, ids),
                    Model::Spm(model) => model.encode(&self.spaces.apply(text, place.after_special), ids),
                    Model::Json(model) => model.encode(text, place.start, ids),
                }
            }
        }
    }

    /// The text of ids. Bytes that are not UTF-8 become U+FFFD; ids that do not exist are left out.
    #[must_use]
    pub fn decode(&self, ids: &[u32], options: DecodeOptions) -> String {
        let mut detokenizer = Detokenizer::with_options(self, options);
        let mut text: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
        text += &detokenizer.finish();
        text
    }

    /// The bytes that a token stands for; a control token's are its text. `None` if there is no such id.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.pieces.get(id)
    }

    /// A token's text for people to read: bytes that are not UTF-8 become U+FFFD; empty if there is no such id.
    #[must_use]
    pub fn piece(&self, id: u32) -> String {
        String::from_utf8_lossy(self.pieces.get(id).unwrap_or_default()).into_owned()
    }

    /// The id of the special token (control or user-defined) whose text is `text`.
    #[must_use]
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.specials.id(text)
    }

    /// Whether a token is a control token: not part of the text, left out when decoding.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        self.kinds.get(id as usize).is_some_and(|kind| kind.is_control())
    }

    /// Whether a token ends the generation.
    #[must_use]
    pub fn is_eog(&self, id: u32) -> bool {
        self.roles.end_of_generation.binary_search(&id).is_ok()
    }

    /// All ids that end the generation, ascending.
    #[must_use]
    pub fn eog_ids(&self) -> &[u32] {
        &self.roles.end_of_generation
    }

    /// The token that begins a text (`tokenizer.ggml.bos_token_id`).
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The token that ends a text (`tokenizer.ggml.eos_token_id`).
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// Whether the file asks for a BOS token in front of every text.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.roles.add_bos
    }

    /// How many ids there are.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }
}

impl Spaces {
    /// A piece of text as SentencePiece sees it.
    fn apply(self, text: &str, after_special: bool) -> String {
        let mut spaced = String::with_capacity(text.len() + 16);
        if after_special && self.add_prefix {
            spaced.push(' ');
        }
        if self.remove_extra {
            let words = text.split(' ').filter(|word| !word.is_empty());
            for (index, word) in words.enumerate() {
                if index > 0 {
                    spaced.push(' ');
                }
                spaced += word;
            }
        } else {
            spaced += text;
        }
        spaced.replace(' ', spm::SPACE.encode_utf8(&mut [0; 4]))
    }
}
