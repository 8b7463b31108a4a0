// Starts the engine inside a dedicated worker. engine.js and engine_bg.wasm are made by wasm-bindgen; the engine itself posts
// `ready` and answers messages from then on.
import start from "./engine.js";

try {
  await start();
} catch (error) {
  const message = `The engine's WebAssembly could not be started: ${error?.message ?? error}`;
  postMessage({ type: "error", id: null, error: { name: "WorkerError", message } });
}
