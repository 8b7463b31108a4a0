// One measurement of onnxruntime-web's WebGPU execution provider. Runs in the browser; browser.mjs calls `measure`.
import { benchIds } from "../ids.mjs";

/** Counts what `run` dispatches on the GPU: proof that it is the GPU which works. */
async function dispatches(run) {
  const prototype = GPUComputePassEncoder.prototype;
  const names = ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"];
  const originals = names.map((name) => prototype[name]);
  let count = 0;
  names.forEach((name, i) => {
    prototype[name] = function (...args) {
      count += 1;
      return originals[i].apply(this, args);
    };
  });
  await run();
  names.forEach((name, i) => (prototype[name] = originals[i]));
  return count;
}

export async function measure({ ortUrl, modelUrl, shapes, prompt: question, count, prefill, decode }) {
  const ort = await import(ortUrl);
  const info = (await navigator.gpu.requestAdapter())?.info;
  const kv = Array.from({ length: shapes.layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
  const session = await ort.InferenceSession.create(modelUrl, {
    executionProviders: ["webgpu"],
    graphOptimizationLevel: "all",
    // The KV cache stays on the GPU; the logits of one position come back.
    preferredOutputLocation: Object.fromEntries([["logits", "cpu"], ...kv.map((name) => [`present.${name}`, "gpu-buffer"])]),
  });

  let past = {};
  let total = 0;
  function clear() {
    for (const tensor of Object.values(past)) tensor.dispose();
    const empty = () => new ort.Tensor("float32", new Float32Array(0), [1, shapes.kv_heads, 0, shapes.head]);
    past = Object.fromEntries(kv.map((name) => [`past.${name}`, empty()]));
    total = 0;
  }

  /** Runs the tokens after what came before them; the likeliest next one. */
  async function step(ids) {
    total += ids.length;
    const result = await session.run({
      ...past,
      input_ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      seqlens_k: new ort.Tensor("int32", [total - 1], [1]),
      total_length: new ort.Tensor("int32", [total], [1]),
    });
    for (const tensor of Object.values(past)) tensor.dispose();
    past = Object.fromEntries(kv.map((name) => [`past.${name}`, result[`present.${name}`]]));
    const logits = result.logits.data;
    let best = 0;
    for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
    return best;
  }

  /** Answers greedily with `count` tokens; what the first and the others took, in seconds. */
  async function answer(prompt, count) {
    clear();
    const started = performance.now();
    const ids = [await step(prompt)];
    const first = performance.now();
    while (ids.length < count) ids.push(await step([ids.at(-1)]));
    return { ids, prefillS: (first - started) / 1e3, decodeS: (performance.now() - first) / 1e3 };
  }

  const checked = await answer(question, count);
  const prompt = benchIds(prefill, shapes.vocabulary);
  const perToken = await dispatches(() => step([checked.ids.at(-1)]));
  if (perToken < 5 * shapes.layers) throw new Error(`only ${perToken} dispatches a token: this does not run on the GPU`);
  await answer(prompt, 2); // All pipelines of these lengths are compiled now.
  const { prefillS, decodeS } = await answer(prompt, decode + 1);
  return {
    adapter: `${info?.vendor} ${info?.architecture}`,
    note: `${shapes.weights} weights, ${perToken} dispatches a token`,
    ids: checked.ids,
    prefill_tok_s: prefill / prefillS,
    decode_tok_s: decode / decodeS,
  };
}
