// One measurement of Kinglet's npm package. Runs in the browser; browser.mjs calls `measure`.

export async function measure({ kingletUrl, modelUrl, question, count, prefill, decode }) {
  const { Kinglet } = await import(kingletUrl);
  const engine = await Kinglet.load(modelUrl, { context: prefill + decode + 64 });
  const ask = (messages, tokens) =>
    engine.chat.completions.create({ messages, temperature: 0, repetition_penalty: 1, ignore_eos: true, max_tokens: tokens });
  const checked = await ask([{ role: "user", content: question }], count);

  // One word is one token. Another first word each time: what two prompts have in common is not computed again.
  const read = (name, words, tokens) =>
    ask([{ role: "system", content: name }, { role: "user", content: "Tell me more about" + " the".repeat(words) }], tokens);
  let words = prefill - 20;
  const warm = await read("Alice", words, 2);
  words += prefill - warm.timings.prompt_n;
  const { timings } = await read("Bob", words, decode + 1);
  const again = timings.prompt_n === prefill ? timings : (await read("Green", words + prefill - timings.prompt_n, decode + 1)).timings;
  if (again.prompt_n !== prefill || again.predicted_n !== decode) {
    throw new Error(`${again.prompt_n} tokens were read and ${again.predicted_n} answered`);
  }
  const { adapter, tier } = engine.info;
  await engine.unload();
  return {
    adapter,
    note: `tier ${tier}`,
    text: checked.choices[0].message.content,
    prefill_tok_s: prefill / (again.prompt_ms / 1e3),
    decode_tok_s: decode / (again.predicted_ms / 1e3),
  };
}
