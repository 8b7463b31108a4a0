//! A model's weights on the GPU.

use crate::gpu::Buffer;
use crate::kernels::HeadNormOver;
use crate::weights::Matrix;

/// A matrix and where its rows go in a row of its output.
#[derive(Debug)]
pub struct Projection {
    /// The weights.
    pub matrix: Matrix,
    /// The output element of the matrix's row 0.
    pub first: u32,
}

/// A matrix and its bias.
#[derive(Debug)]
pub struct Linear {
    /// The weights.
    pub matrix: Matrix,
    /// The bias.
    pub bias: Option<Buffer>,
}

/// A norm's vectors.
#[derive(Debug)]
pub struct NormWeights {
    /// Its weight.
    pub weight: Buffer,
    /// Its bias (LayerNorm).
    pub bias: Option<Buffer>,
}

/// The two matrices of a gated feed-forward network.
#[derive(Debug)]
pub enum GateUp {
    /// One matrix with quads of `ffn_gate` and of `ffn_up` by turns: their types agree, in the file or widened.
    Interleaved(Matrix),
    /// `ffn_gate` and `ffn_up`, and their biases in one vector.
    Apart([Matrix; 2], Option<Buffer>),
}

/// What stands between the norm and the last matrix of a feed-forward network.
#[derive(Debug)]
pub enum Up {
    /// `activation(gate x) · up x` (Shazeer 2020)
    Gated(GateUp),
    /// `activation(up x)`
    Plain(Linear),
}

/// The feed-forward network of a block.
#[derive(Debug)]
pub enum FeedForward {
    /// One for all tokens.
    Dense(Dense),
    /// Some of many for each token.
    Experts(Box<ExpertWeights>),
}

/// A feed-forward network.
#[derive(Debug)]
pub struct Dense {
    /// `ffn_gate`, `ffn_up`
    pub up: Up,
    /// `ffn_down`
    pub down: Linear,
}

/// A mixture of experts. In its matrices each expert has the same number of rows, one after the other.
#[derive(Debug)]
pub struct ExpertWeights {
    /// `ffn_gate_inp`
    pub router: Linear,
    /// `ffn_gate_exps` and `ffn_up_exps`, quad by quad.
    pub gate_up: Matrix,
    /// `ffn_down_exps`
    pub down: Matrix,
    /// `ffn_gate_shexp`, `ffn_up_shexp`, `ffn_down_shexp`: an expert that every token goes to.
    pub shared: Option<Dense>,
    /// `ffn_gate_inp_shexp`: how much of it.
    pub shared_gate: Option<Matrix>,
}

/// Queries, keys and values.
#[derive(Debug)]
pub struct Qkv {
    /// `attn_q`, `attn_k`, `attn_v`, or `attn_qkv`: neighbours whose types agree, in the file or widened, are one stacked matrix.
    pub projections: Vec<Projection>,
    /// RoPE's turns, with the bias of all three behind them where there is one and nothing comes between product and RoPE.
    pub turns: Buffer,
    /// `attn_q.bias`, `attn_k.bias`, `attn_v.bias`, or `attn_qkv.bias`, are behind the turns or, where something comes between, here.
    pub bias: QkvBias,
    /// `attn_q_norm.weight`, `attn_k_norm.weight`
    pub norm: Option<(HeadNormOver, [Buffer; 2])>,
    /// Something comes between product and cache: a norm, clamping, or a cache in blocks.
    pub between: bool,
}

/// Where the bias of queries, keys and values is.
#[derive(Debug)]
pub enum QkvBias {
    /// There is none.
    None,
    /// Behind the turns.
    BehindTurns,
    /// In a buffer of its own.
    Own(Buffer),
}

/// One transformer block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `attn_norm` (Falcon 40B: `attn_norm_2`); without it attention reads the residual stream as it is.
    pub attn_norm: Option<NormWeights>,
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// `attn_output`
    pub attn_output: Linear,
    /// `post_attention_norm`: what attention adds is normed first.
    pub post_attention_norm: Option<NormWeights>,
    /// `ffn_norm` (Falcon 40B: `attn_norm`). Without it, parallel halves share attention's; others read the residual stream as it is.
    pub ffn_norm: Option<NormWeights>,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// `post_ffw_norm`: what the feed-forward network adds is normed first.
    pub post_ffw_norm: Option<NormWeights>,
}

/// All weights of a model.
#[derive(Debug)]
pub struct Weights {
    /// `token_embd.weight`
    pub token_embd: Matrix,
    /// `position_embd.weight`
    pub position_embd: Option<Matrix>,
    /// `token_embd_norm`
    pub token_embd_norm: Option<NormWeights>,
    /// The blocks in order.
    pub layers: Vec<LayerWeights>,
    /// `output_norm`
    pub output_norm: NormWeights,
    /// `output.weight`; where the file has none, the token embedding serves (a tied head).
    pub output: Option<Matrix>,
    /// `output.bias`
    pub output_bias: Option<Buffer>,
}

impl Up {
    fn each_matrix(&mut self, visit: &mut dyn FnMut(&mut Matrix)) {
        match self {
            Up::Gated(GateUp::Interleaved(both)) => visit(both),
            Up::Gated(GateUp::Apart(two, _)) => two.iter_mut().for_each(visit),
            Up::Plain(up) => visit(&mut up.matrix),
        }
    }
}

impl Dense {
    fn each_matrix(&mut self, visit: &mut dyn FnMut(&mut Matrix)) {
        self.up.each_matrix(visit);
        visit(&mut self.down.matrix);
    }
}

impl FeedForward {
    fn each_matrix(&mut self, of_experts: bool, visit: &mut dyn FnMut(&mut Matrix)) {
        match self {
            FeedForward::Dense(dense) => dense.each_matrix(visit),
            FeedForward::Experts(experts) => {
                visit(&mut experts.router.matrix);
                if of_experts {
                    visit(&mut experts.gate_up);
                    visit(&mut experts.down);
                }
                experts.shared.iter_mut().for_each(|shared| shared.each_matrix(visit));
                experts.shared_gate.iter_mut().for_each(visit);
            }
        }
    }
}

impl NormWeights {
    fn bytes(&self) -> u64 {
        self.weight.size() + self.bias.as_ref().map_or(0, Buffer::size)
    }
}

impl Linear {
    fn bytes(&self) -> u64 {
        self.matrix.bytes() + self.bias.as_ref().map_or(0, Buffer::size)
    }
}

impl Up {
    fn bytes(&self) -> u64 {
        match self {
            Up::Gated(GateUp::Interleaved(both)) => both.bytes(),
            Up::Gated(GateUp::Apart(two, bias)) => {
                two.iter().map(Matrix::bytes).sum::<u64>() + bias.as_ref().map_or(0, Buffer::size)
            }
            Up::Plain(up) => up.bytes(),
        }
    }
}

impl Dense {
    fn bytes(&self) -> u64 {
        self.up.bytes() + self.down.bytes()
    }
}

impl FeedForward {
    fn bytes(&self) -> u64 {
        match self {
            FeedForward::Dense(dense) => dense.bytes(),
            FeedForward::Experts(experts) => {
                experts.router.bytes()
                    + experts.gate_up.bytes()
                    + experts.down.bytes()
                    + experts.shared.as_ref().map_or(0, Dense::bytes)
                    + experts.shared_gate.as_ref().map_or(0, Matrix::bytes)
            }
        }
    }
}

impl Qkv {
    fn bytes(&self) -> u64 {
        let bias = match &self.bias {
            QkvBias::Own(bias) => bias.size(),
            QkvBias::None | QkvBias::BehindTurns => 0,
        };
        self.projections.iter().map(|projection| projection.matrix.bytes()).sum::<u64>()
            + self.turns.size()
            + bias
            + self.norm.iter().flat_map(|(_, weights)| weights).map(Buffer::size).sum::<u64>()
    }
}

impl LayerWeights {
    fn bytes(&self) -> u64 {
        let norms = [&self.attn_norm, &self.post_attention_norm, &self.ffn_norm, &self.post_ffw_norm];
        norms.into_iter().flatten().map(NormWeights::bytes).sum::<u64>()
            + self.qkv.bytes()
            + self.attn_output.bytes()
            + self.feed_forward.bytes()
    }
}

impl Weights {
    /// The LM head's matrix.
    pub fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// Every matrix that is multiplied with, those that hold several experts only if `of_experts`.
    pub(super) fn each_matrix(&mut self, of_experts: bool, visit: &mut dyn FnMut(&mut Matrix)) {
        for layer in &mut self.layers {
            layer.qkv.projections.iter_mut().for_each(|projection| visit(&mut projection.matrix));
            visit(&mut layer.attn_output.matrix);
            layer.feed_forward.each_matrix(of_experts, visit);
        }
        visit(self.output.as_mut().unwrap_or(&mut self.token_embd));
    }

    /// Bytes of all weights on the GPU.
    pub fn bytes(&self) -> u64 {
        let norms = [self.token_embd_norm.as_ref(), Some(&self.output_norm)];
        let matrices = [Some(&self.token_embd), self.position_embd.as_ref(), self.output.as_ref()];
        self.layers.iter().map(LayerWeights::bytes).sum::<u64>()
            + norms.into_iter().flatten().map(NormWeights::bytes).sum::<u64>()
            + matrices.into_iter().flatten().map(Matrix::bytes).sum::<u64>()
            + self.output_bias.as_ref().map_or(0, Buffer::size)
    }
}
