//! Room for feed-forward networks: gated or plain, one for all tokens or many of which each token uses a few.

use super::{PAIR_ROWS, Target, WeightLoader, WeightsError};
use crate::kernels::{Activation, Format};
use crate::model::config::{ConfigError, Experts};
use crate::model::weights::{Dense, ExpertWeights, FeedForward, GateUp, Up};
use crate::weights::gguf::TensorInfo;
use crate::weights::{Matrix, Placement};

impl<'a> WeightLoader<'a> {
    pub(super) fn feed_forward(&mut self, layer: u32) -> Result<FeedForward, WeightsError> {
        match self.config.experts {
            Some(experts) if self.find(&format!("blk.{layer}.ffn_gate_inp.weight")).is_some() => {
                Ok(FeedForward::Experts(Box::new(self.experts(layer, experts)?)))
            }
            _ => Ok(FeedForward::Dense(self.dense(layer, "", self.config.feed_forward)?)),
        }
    }

    fn experts(&mut self, layer: u32, experts: Experts) -> Result<ExpertWeights, WeightsError> {
        let embedding = self.config.embedding;
        let Experts { count, feed_forward: ff, .. } = experts;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let router = self.linear(&format!("blk.{layer}.ffn_gate_inp"), count, embedding)?;
        let [gate, up, down] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].map(name);
        let (gate_format, up_format) = (self.stack(&gate, count, ff, embedding)?, self.stack(&up, count, ff, embedding)?);
        if gate_format.1 != up_format.1 {
            return Err(ConfigError::DifferentTypes { tensor: gate, other: up }.into());
        }
        let gate_up = self.interleaved([(gate_format.0, 0), (up_format.0, 0)], gate_format.1, count * ff, 2 * ff)?;
        let (tensor, format) = self.stack(&down, count, embedding, ff)?;
        let rows = count * embedding;
        let down = Matrix::new(self.gpu, &down, format, rows, ff, embedding)?;
        self.placed.push((tensor, Target::Rows { matrix: down.clone(), placement: Placement::whole(rows) }));
        let shared = match experts.shared {
            0 => None,
            shared => Some(self.shared_expert(layer, shared)?),
        };
        let gate = name("ffn_gate_inp_shexp");
        let shared_gate = self.find(&gate).map(|_| self.matrix(&gate, 1, embedding)).transpose()?;
        Ok(ExpertWeights { router, gate_up, down, shared, shared_gate })
    }

    /// The expert of all tokens. Its weight is applied where gate and up are interleaved.
    fn shared_expert(&mut self, layer: u32, ff: u32) -> Result<Dense, WeightsError> {
        let dense = self.dense(layer, "_shexp", ff)?;
        let name = |part: &str| format!("blk.{layer}.ffn_{part}");
        let (gate, up) = (name("gate_shexp.weight"), name("up_shexp.weight"));
        match &dense.up {
            Up::Gated(GateUp::Interleaved(_)) => Ok(dense),
            Up::Gated(GateUp::Apart(_, None)) => Err(ConfigError::DifferentTypes { tensor: gate, other: up }.into()),
            Up::Gated(GateUp::Apart(_, Some(_))) => {
                let biases = ["gate_shexp.bias", "up_shexp.bias"].map(name);
                let tensor = biases.into_iter().find(|bias| self.find(bias).is_some()).unwrap_or(up);
                Err(ConfigError::UnknownTensor { tensor, architecture: self.config.architecture.clone() }.into())
            }
            Up::Plain(_) => Err(self.missing(&gate).into()),
        }
    }

    /// A tensor of `count` matrices, checked.
    fn stack(&self, name: &str, count: u32, rows: u32, columns: u32) -> Result<(&'a TensorInfo, Format), WeightsError> {
        let tensor = self.needed(name)?;
        self.expect(tensor, &[columns, rows, count])?;
        if !rows.is_multiple_of(8) {
            return Err(ConfigError::WrongShape {
                tensor: name.into(),
                found: tensor.dims.clone(),
                expected: vec![columns.into(), 8],
            }
            .into());
        }
        Ok((tensor, self.format(tensor)?))
    }

    fn dense(&mut self, layer: u32, suffix: &str, ff: u32) -> Result<Dense, WeightsError> {
        let up = self.up(layer, suffix, ff)?;
        let down = self.linear(&format!("blk.{layer}.ffn_down{suffix}"), self.config.embedding, ff)?;
        Ok(Dense { up, down })
    }

    /// Room for what stands before `ffn_down`. A gate of its own, or an `ffn_up` with the gate's rows before its own, makes it gated.
    fn up(&mut self, layer: u32, suffix: &str, ff: u32) -> Result<Up, WeightsError> {
        let embedding = self.config.embedding;
        let name = |part: &str| {
            let (stem, kind) = part.split_once('.').unwrap_or((part, ""));
            format!("blk.{layer}.{stem}{suffix}.{kind}")
        };
        let (gate_name, up_name) = (name("ffn_gate.weight"), name("ffn_up.weight"));
        if self.find(&gate_name).is_none() {
            if self.needed(&up_name)?.rows() != 2 * u64::from(ff) {
                // No known network has this activation without a gate.
                if self.config.activation == Activation::Silu {
                    return Err(self.missing(&gate_name).into());
                }
                return Ok(Up::Plain(self.linear(&format!("blk.{layer}.ffn_up{suffix}"), ff, embedding)?));
            }
            let (tensor, format) = self.tensor(&up_name, 2 * ff, embedding)?;
            return Ok(Up::Gated(GateUp::Interleaved(self.interleaved([(tensor, 0), (tensor, ff)], format, ff, PAIR_ROWS)?)));
        }
        let [gate, up] = [self.tensor(&gate_name, ff, embedding)?, self.tensor(&up_name, ff, embedding)?];
        let biases = [name("ffn_gate.bias"), name("ffn_up.bias")];
        let biased = biases.iter().any(|bias| self.find(bias).is_some());
        if gate.1 == up.1 && !biased {
            return Ok(Up::Gated(GateUp::Interleaved(self.interleaved([(gate.0, 0), (up.0, 0)], gate.1, ff, PAIR_ROWS)?)));
        }
        let matrices = [self.matrix(&gate_name, ff, embedding)?, self.matrix(&up_name, ff, embedding)?];
        let bias = match biased {
            true => Some(self.gpu.buffer("gate and up bias", 8 * u64::from(ff))?),
            false => None,
        };
        for (part, first) in biases.iter().zip([0, ff]) {
            if let (Some(_), Some(buffer)) = (self.find(part), &bias) {
                self.part_of_vector(part, &[ff], buffer, 4 * u64::from(first), None)?;
            }
        }
        Ok(Up::Gated(GateUp::Apart(matrices, bias)))
    }

    /// Room for `rows` rows of gate and of up quad by quad, each from some row of its tensor on; `together` of both are never parted.
    fn interleaved(
        &mut self,
        parts: [(&'a TensorInfo, u32); 2],
        format: Format,
        rows: u32,
        together: u32,
    ) -> Result<Matrix, WeightsError> {
        let matrix = Matrix::new(self.gpu, &parts[0].0.name, format, 2 * rows, self.config.embedding, together)?;
        for (first_quad, (tensor, first_row)) in (0..).zip(parts) {
            let placement = Placement { rows: first_row..first_row + rows, first_quad, quad_step: 2, reorder: None };
            self.placed.push((tensor, Target::Rows { matrix: matrix.clone(), placement }));
        }
        Ok(matrix)
    }
}
