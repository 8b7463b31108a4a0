// One measurement of llama.cpp's Vulkan backend, through node-llama-cpp, in a process of its own. Started by run.mjs:
//   node llama.mjs '{"cache": …, "model": …, "prefill": 128, "decode": 16, "prompt": [ids to answer as a check], "count": 4}'
// Prints one line of JSON.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { benchIds } from "./ids.mjs";

const { cache, model: modelPath, prefill, decode, prompt: checkedPrompt, count } = JSON.parse(process.argv[2]);
const entry = createRequire(join(cache, "package.json")).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(entry));

const log = [];
const llama = await getLlama({
  gpu: "vulkan",
  build: "never",
  skipDownload: true,
  progressLogs: false,
  logLevel: "debug",
  logger: (_level, message) => log.push(message),
});
const devices = await llama.getGpuDeviceNames();
const model = await llama.loadModel({ modelPath, gpuLayers: "max" });
const context = await model.createContext({ contextSize: prefill + decode + 64, batchSize: 512, sequences: 1 });
const sequence = context.getSequence();

// llama.cpp goes on without a word on the CPU where it finds no device: what it says must add up, or there is no number.
const offloaded = /offloaded (\d+)\/(\d+) layers to GPU/.exec(log.join("\n"));
const onGpu = llama.gpu === "vulkan" && devices.length > 0 && offloaded && offloaded[1] === offloaded[2];
if (!onGpu) {
  console.error(log.join("\n"));
  throw new Error(`llama.cpp does not run on Vulkan: gpu ${llama.gpu}, devices ${JSON.stringify(devices)}, ${offloaded?.[0]}`);
}

/** Reads `prompt` anew and answers greedily with `count` ids; when the first and the last were there, in seconds. */
async function answer(prompt, count) {
  await sequence.clearHistory();
  const started = performance.now();
  const ids = [];
  let first = 0;
  for await (const id of sequence.evaluate([...prompt], { temperature: 0, yieldEogToken: true })) {
    if (ids.push(id) === 1) first = performance.now();
    if (ids.length === count) break;
  }
  if (ids.length !== count) throw new Error(`${ids.length} tokens came instead of ${count}`);
  return { ids, prefill: (first - started) / 1e3, decode: (performance.now() - first) / 1e3 };
}

const prompt = benchIds(prefill, model.fileInfo.tensorInfo.find((t) => t.name === "token_embd.weight").dimensions[1]);
const checked = await answer(checkedPrompt, count);
await answer(prompt, 2); // All pipelines of these lengths are compiled now.
const { prefill: prefillS, decode: decodeS } = await answer(prompt, decode + 1);

console.log(JSON.stringify({
  adapter: devices.join(", "),
  note: `${offloaded[0]}, flash attention ${context.flashAttention}`,
  ids: checked.ids,
  prefill_tok_s: prefill / prefillS,
  decode_tok_s: decode / decodeS,
}));
process.exit(0); // Its Vulkan teardown is not ours to wait for.
