//! What the default model is known to answer.

use serde_json::Value;

/// The greedy answer to "What is gravity?" before its first step with so small a margin that f16 keys and values may turn it.
pub fn text() -> String {
    let golden: Value = serde_json::from_str(include_str!("../golden/smollm2.json")).unwrap();
    let chat = &golden["runs"]["chat"];
    let margins = chat["top1_top2_margin"].as_array().unwrap();
    let firm = margins.iter().position(|margin| margin.as_f64().unwrap() < 0.1).unwrap();
    let whole = chat["greedy_text"].as_str().unwrap();
    // Tokens are at least a letter long each on average, so that this many letters are certainly firm.
    whole.chars().take(3 * firm).collect()
}
