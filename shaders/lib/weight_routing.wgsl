// A gated product times the weight of its choice: what follows has only to add up.
fn weight_of(row: u32) -> f32 {
  return bitcast<f32>(routing[row].y);
}
