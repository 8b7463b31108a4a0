#!/usr/bin/env node
// Times Kinglet and its peers side by side on software adapters. What the numbers mean: README.md beside this file.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cpus, homedir, loadavg } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { inBrowser, serve } from "./browser.mjs";
import { npm, onnx } from "./setup.mjs";
import { ratios, summary } from "./summary.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const home = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? "target");

const { values: options } = parseArgs({
  options: {
    peers: { type: "string", default: "llama-vulkan,ort-web" },
    prefill: { type: "string", default: "128" },
    decode: { type: "string", default: "16" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    force: { type: "boolean", default: false },
    model: { type: "string", default: join(home, "kinglet/models/SmolLM2-135M-Instruct.Q4_1.gguf") },
    kinglet: { type: "string", default: join(target, "release/kinglet") },
    npm: { type: "string", default: join(root, "web/npm/dist") },
    cache: { type: "string", default: join(home, "kinglet/peers") },
    icd: { type: "string", default: "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json" },
    chromium: { type: "string", default: process.env.KINGLET_CHROMIUM ?? "/usr/bin/chromium" },
    chromedriver: { type: "string", default: process.env.CHROMEDRIVER ?? "/usr/bin/chromedriver" },
    help: { type: "boolean", short: "h", default: false },
  },
});

const HELP = `node benches/peers/run.mjs [options]
  --peers LIST       of llama-vulkan, ort-web, ort-web-f32, kinglet, kinglet-web (default llama-vulkan,ort-web);
                     the Kinglet that a peer is compared with runs by itself
  --prefill N        tokens of the prompt (128)
  --decode N         tokens of the answer after it (16)
  --rounds N         measurements of each, in alternation (3)
  --json             one JSON object instead of the tables
  --force            measure although the machine is busy
  --model FILE       a llama model as GGUF; answers are checked against tests/golden/smollm2.json
  --kinglet FILE     the native program (target/release/kinglet)
  --npm DIR          the built npm package (web/npm/dist, by \`cargo xtask npm\`)
  --cache DIR        where the peers are installed (~/.cache/kinglet/peers)
  --icd FILE         the Vulkan driver of the native competitors (lavapipe's)
  --chromium FILE, --chromedriver FILE`;

const fail = (why) => {
  console.error(`peers: ${why}`);
  process.exit(1);
};
const positive = (name) => {
  const value = Number(options[name]);
  return Number.isInteger(value) && value > 0 ? value : fail(`--${name} takes a positive whole number, not ${options[name]}`);
};

/** Which Kinglet a peer is compared with: the one on the same adapter. */
const RIVALS = { "llama-vulkan": "kinglet", "ort-web": "kinglet-web", "ort-web-f32": "kinglet-web" };
/** An answer is checked over this many tokens in every process that is measured; weights of 4 bits go another way after the fifth. */
const CHECKED = 4;
const LIMIT_MS = 60 * 60 * 1e3;

const golden = JSON.parse(readFileSync(join(root, "tests/golden/smollm2.json"))).runs.chat;

/** Share of all cores that was busy during the next two seconds. */
async function busy() {
  const total = () =>
    cpus().reduce(([idle, all], { times }) => [idle + times.idle, all + Object.values(times).reduce((a, b) => a + b)], [0, 0]);
  const [idle, all] = total();
  await sleep(2000);
  const [idleThen, allThen] = total();
  return 1 - (idleThen - idle) / (allThen - all);
}

/** Holds a peer to the golden answer: what computes something else is not compared. */
const sameIds = (name, ids) => {
  const expected = golden.greedy_ids.slice(0, CHECKED);
  if (`${ids}` !== `${expected}`) throw new Error(`${name} answers ${ids} instead of ${expected}`);
};

/** The competitors: `prepare` installs and finds what one needs, `measure` runs it once in a process of its own. */
function competitors(prefill, decode) {
  const { model, cache } = options;
  const env = { ...process.env, VK_ICD_FILENAMES: options.icd, VK_DRIVER_FILES: options.icd };
  const child = async (program, args, more = {}) => {
    const settings = { env: { ...env, ...more }, maxBuffer: 1 << 26, timeout: LIMIT_MS };
    return JSON.parse((await promisify(execFile)(program, args, settings)).stdout);
  };
  const browser = { chromium: options.chromium, driver: options.chromedriver, config: join(root, "webdriver.json") };
  const needBrowser = () => {
    for (const file of [browser.chromium, browser.driver]) if (!existsSync(file)) fail(`${file} is missing; \`cargo xtask setup\` installs it`);
  };
  const page = async (script, task) => {
    const folders = { "/peers/": here, "/cache/": cache, "/models/": dirname(model), "/kinglet/": options.npm };
    const server = await serve(folders);
    try {
      return await inBrowser(browser, server.origin, "/peers/page/blank.html", `/peers/page/${script}`, task, LIMIT_MS);
    } finally {
      server.close();
    }
  };

  const kinglet = {
    prepare: () => existsSync(options.kinglet) || fail(`${options.kinglet} is missing: cargo build --release, or --kinglet FILE`),
    async measure() {
      const lengths = ["--prefill", prefill, "--decode", decode, "--depth", prefill, "--runs", 1].map(String);
      const report = await child(options.kinglet, ["bench", model, ...lengths, "--json"]);
      return {
        adapter: report.adapter,
        note: `tier ${report.tier}, ${report.dispatches_per_token} dispatches a token`,
        prefill_tok_s: report.prefill[0].median_tok_s,
        decode_tok_s: report.decode.median_tok_s,
      };
    },
  };
  const kingletWeb = {
    prepare() {
      needBrowser();
      if (!existsSync(join(options.npm, "engine_bg.wasm"))) fail(`there is no package in ${options.npm}: cargo xtask npm, or --npm DIR`);
    },
    async measure() {
      const question = golden.messages[0].content;
      const modelUrl = `/models/${model.split("/").at(-1)}`;
      const task = { kingletUrl: "/kinglet/index.js", modelUrl, question, count: CHECKED, prefill, decode };
      const { text, ...result } = await page("kinglet.mjs", task);
      if (text.length === 0 || !golden.greedy_text.startsWith(text)) throw new Error(`kinglet-web answers ${JSON.stringify(text)}`);
      return result;
    },
  };
  const llama = {
    prepare: () => npm(cache, "llama-vulkan"),
    async measure() {
      const task = { cache, model, prefill, decode, prompt: golden.prompt_ids, count: CHECKED };
      // Its Vulkan backend skips CPU devices unless one is named.
      const { ids, ...result } = await child(process.execPath, [join(here, "llama.mjs"), JSON.stringify(task)], { GGML_VK_VISIBLE_DEVICES: "0" });
      sameIds("llama-vulkan", ids);
      return result;
    },
  };
  const ort = (weights) => {
    let name;
    return {
      prepare() {
        needBrowser();
        npm(cache, "ort-web");
        name = onnx(cache, model, weights, join(here, "build_onnx.py"));
      },
      async measure() {
        const shapes = JSON.parse(readFileSync(`${name}.json`));
        const ortUrl = "/cache/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs";
        const task = { ortUrl, modelUrl: `/cache/${name.split("/").at(-1)}.onnx`, shapes, prompt: golden.prompt_ids, count: CHECKED, prefill, decode };
        const { ids, ...result } = await page("ort.mjs", task);
        sameIds("ort-web", ids);
        return result;
      },
    };
  };
  return { kinglet, "kinglet-web": kingletWeb, "llama-vulkan": llama, "ort-web": ort("q4"), "ort-web-f32": ort("f32") };
}

async function main() {
  if (options.help) return console.log(HELP);
  const [prefill, decode, rounds] = ["prefill", "decode", "rounds"].map(positive);
  if (prefill < 48) fail("--prefill takes at least 48: a chat template alone is longer than less");
  if (!existsSync(options.model)) fail(`${options.model} is missing: cargo xtask model smollm2-135m`);
  const all = competitors(prefill, decode);
  const asked = options.peers.split(",");
  for (const name of asked) if (!all[name]) fail(`no peer is named ${name}; there are ${Object.keys(all).join(", ")}`);
  // Each Kinglet right before those it is compared with.
  const names = ["kinglet", "kinglet-web"].flatMap((own) => {
    const peers = asked.filter((name) => RIVALS[name] === own);
    return peers.length > 0 || asked.includes(own) ? [own, ...peers] : [];
  });
  for (const name of names) all[name].prepare();

  const before = await busy();
  if ((before > 0.1 || loadavg()[0] > 0.5) && !options.force) {
    fail(`the machine is not idle (${Math.round(before * 100)} % busy, load ${loadavg()[0].toFixed(2)}): wait, or --force for numbers not to be quoted`);
  }
  const groups = ["kinglet", "kinglet-web"].map((own) => names.filter((name) => name === own || RIVALS[name] === own));
  const runs = Object.fromEntries(names.map((name) => [name, []]));
  for (const group of groups) {
    for (let round = 1; round <= rounds; round++) {
      for (const name of group) {
        const share = await busy();
        console.error(`${name}, round ${round} of ${rounds}${share > 0.1 ? `; the machine is ${Math.round(share * 100)} % busy` : ""}`);
        const result = await all[name].measure();
        console.error(`  prefill ${result.prefill_tok_s.toFixed(2)}, decode ${result.decode_tok_s.toFixed(2)} tok/s`);
        runs[name].push({ ...result, busy_before: share });
      }
    }
  }
  const commit = spawnSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root, encoding: "utf8" }).stdout.trim();
  const report = { commit, cpu: `${cpus().length} × ${cpus()[0].model}`, prefill, decode, rounds, forced: options.force, runs };
  report.speeds = summary(runs);
  report.ratios = ratios(report.speeds, RIVALS);
  console.log(options.json ? JSON.stringify(report, null, 1) : table(report));
}

function table({ cpu, commit, prefill, decode, rounds, speeds, ratios, runs }) {
  const row = (name, ...cells) => name.padEnd(24) + cells.map((cell) => cell.padStart(12)).join("");
  const lines = [`Kinglet ${commit} on ${cpu}; ${rounds} rounds, tok/s`, ""];
  lines.push(row("", "prefill", "", "decode", ""), row(`  of ${prefill} and ${decode} tokens`, "median", "minimum", "median", "minimum"));
  for (const [name, { prefill, decode }] of Object.entries(speeds)) {
    lines.push(row(name, ...[prefill.median, prefill.min, decode.median, decode.min].map((value) => value.toFixed(2))));
  }
  lines.push("", row("", "prefill", "decode"));
  for (const { own, peer, prefill, decode } of ratios) {
    lines.push(row(`${own} / ${peer}`, `${prefill.toFixed(1)} ×`, `${decode.toFixed(1)} ×`));
  }
  lines.push("");
  for (const [name, all] of Object.entries(runs)) {
    lines.push(`${name}: ${all[0].adapter}; ${all[0].note}`);
    const loaded = all.filter(({ busy_before }) => busy_before > 0.1).length;
    if (loaded > 0) lines.push(`  NOT TO BE QUOTED: before ${loaded} of ${all.length} runs the machine was busy`);
  }
  return lines.join("\n");
}

// An `exit` ends the browser too, which a signal alone would leave behind.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
main().catch((error) => fail(error.stderr || error.stack || error.message));
