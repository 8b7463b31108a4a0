// What the peers need, fetched from package registries into a cache outside the repository.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The peers' packages, exactly: other versions are other competitors. */
export const PACKAGES = {
  "llama-vulkan": ["node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64-vulkan@3.22.1"],
  "ort-web": ["onnxruntime-web@1.30.0"],
};

/** What build_onnx.py imports. */
const PYTHON = ["numpy==2.4.6", "gguf==0.19.0", "onnx==1.23.2"];

function run(program, args, cwd) {
  console.error(`  ${program} ${args.join(" ")}`);
  const { status, error } = spawnSync(program, args, { cwd, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error(`${program} failed${error ? `: ${error.message}` : ""}`);
}

/** Installs the npm packages of a peer unless these versions are there. */
export function npm(cache, peer) {
  const versionOf = (name) => {
    const file = join(cache, "node_modules", name, "package.json");
    return existsSync(file) ? JSON.parse(readFileSync(file)).version : undefined;
  };
  const missing = PACKAGES[peer].filter((pinned) => {
    const at = pinned.lastIndexOf("@");
    return versionOf(pinned.slice(0, at)) !== pinned.slice(at + 1);
  });
  if (missing.length === 0) return;
  console.error(`installing ${missing.join(", ")} from npm into ${cache}`);
  mkdirSync(cache, { recursive: true });
  if (!existsSync(join(cache, "package.json"))) writeFileSync(join(cache, "package.json"), '{ "private": true }\n');
  // Without scripts: node-llama-cpp's would build llama.cpp where it finds no binary.
  run("npm", ["install", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", ...missing], cache);
}

/** The ONNX model of a GGUF file with `weights` as build_onnx.py has them, made unless it is there; its path without the ending. */
export function onnx(cache, gguf, weights, script) {
  const name = join(cache, `${gguf.split("/").at(-1).replace(/\.gguf$/, "")}-${weights}`);
  if (existsSync(`${name}.json`)) return name;
  mkdirSync(cache, { recursive: true });
  const python = join(cache, "venv/bin/python");
  const wanted = join(cache, "venv/installed.txt");
  if (!existsSync(wanted) || readFileSync(wanted, "utf8") !== PYTHON.join("\n")) {
    console.error(`installing ${PYTHON.join(", ")} from PyPI into ${join(cache, "venv")}`);
    run("python3", ["-m", "venv", join(cache, "venv")]);
    run(python, ["-m", "pip", "install", "--quiet", ...PYTHON]);
    writeFileSync(wanted, PYTHON.join("\n"));
  }
  console.error(`building ${name}.onnx`);
  run(python, [script, gguf, `${name}.part.onnx`, "--weights", weights]);
  renameSync(`${name}.part.onnx`, `${name}.onnx`);
  renameSync(`${name}.part.json`, `${name}.json`);
  return name;
}
