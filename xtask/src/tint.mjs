// Compiles every .wgsl file of a folder with Tint (Dawn in Node, on its null backend: no GPU is used).
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);
const folder = process.argv[2];
const files = readdirSync(folder, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".wgsl"))
  .sort();
const gpu = create(["backend=null"]);
const adapter = await gpu.requestAdapter();
const wanted = ["shader-f16", "subgroups", "timestamp-query"];
const requiredFeatures = wanted.filter((name) => adapter.features.has(name));
const device = await adapter.requestDevice({ requiredFeatures });

let failed = 0;
for (const name of files) {
  device.pushErrorScope("validation");
  const code = readFileSync(join(folder, name), "utf8");
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const error = await device.popErrorScope();
  const errors = messages.filter((message) => message.type === "error");
  if (errors.length > 0 || error) {
    failed += 1;
    for (const { lineNum, linePos, message } of errors) {
      console.error(`${name}:${lineNum}:${linePos}: ${message}`);
    }
    if (errors.length === 0) console.error(`${name}: ${error.message}`);
  }
}
console.log(`Tint: ${files.length - failed} of ${files.length} shaders compile`);
device.destroy();
// Dawn keeps the process alive otherwise.
process.exit(failed > 0 || files.length === 0 ? 1 : 0);
