//! The kernels: for each its constants, its grid, the fragments it is made of, what it reads, and the `f64` twin that tests hold it to.
//!
//! A shader is the concatenation of constants, shared structures, a weight format, a reduction, what becomes of results, and a kernel; sizes
//! are baked in as constants, so that the device's compiler sees them, and only what changes from step to step is read from memory.

mod attention_decode;
mod attention_prefill;
mod embed;
mod experts;
mod finish;
mod format;
mod gated;
mod heads;
mod kv;
mod kv_type;
mod last_row;
mod matmul;
mod matvec;
mod norm;
mod repack;
mod sample;
mod source;
mod variant;
mod weigh;

pub use embed::{Embed, embed_reference};
pub use experts::{CHOICE_BYTES, ExpertRows, GroupChoices, Route, SumChoices};
pub use finish::{Activation, Finish, Outcome, RopeKv, bias_offset, rope_reference, rope_turns};
pub use format::{Format, Planes};
pub use gated::{Gated, gated_reference};
pub use heads::{HeadNorm, HeadNormOver, Heads};
pub use kv::Attention;
pub use kv_type::KvType;
pub use last_row::LastRow;
pub use matmul::Matmul;
pub use matvec::{DeferredNorm, Matvec, matvec_reference};
pub use norm::{Norm, NormKind, NormTarget, rms_norm_reference};
pub use repack::{Reorder, Repack, RepackChunk};
pub use sample::{Next, SamplePick, SamplingGpu, Sequence, penalty_reference, philox_reference, sample_reference};
pub use source::Step;
pub use variant::{Arithmetic, AttentionVariant, MatmulVariant, MatvecVariant, Tiling, Variants, int8_reference};
pub use weigh::Weigh;
