// A headless Chromium on SwiftShader, driven through chromedriver, and a static server for it to load from.
import { spawn } from "node:child_process";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

/** Serves folders under paths, `{ "/models/": "/home/…" }`, on a loopback port. */
export async function serve(folders) {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    const prefix = Object.keys(folders).find((prefix) => path.startsWith(prefix));
    const file = prefix && join(folders[prefix], normalize(`/${path.slice(prefix.length)}`));
    const size = file && statSync(file, { throwIfNoEntry: false });
    if (!size?.isFile()) return response.writeHead(404).end();
    response.writeHead(200, {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Content-Length": size.size,
      // Shared memory, and with it threads, for a peer that wants them.
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => (server.closeAllConnections(), server.close()) };
}

/** A command of the WebDriver protocol: its value, or its error thrown. */
async function command(url, body, method = "POST") {
  const reply = await fetch(url, { method, body: body && JSON.stringify(body) });
  const { value } = await reply.json();
  if (value?.error) throw new Error(`${value.error}: ${value.message}`);
  return value;
}

/** Runs `measure(task)`, exported by the module at `path` of `origin`, in a fresh browser; what it returns. */
export async function inBrowser({ chromium, driver, config }, origin, page, path, task, limit) {
  const options = JSON.parse(readFileSync(config))["goog:chromeOptions"];
  const child = spawn(driver, ["--port=0"], { stdio: ["ignore", "pipe", "ignore"] });
  const stop = () => child.kill();
  process.on("exit", stop);
  let session;
  try {
    const port = await new Promise((resolve, reject) => {
      let said = "";
      child.stdout.on("data", (data) => {
        const found = /started successfully on port (\d+)/.exec((said += data));
        if (found) resolve(found[1]);
      });
      child.on("error", reject);
      child.on("exit", () => reject(new Error(`chromedriver ended: ${said}`)));
    });
    const capabilities = { alwaysMatch: { "goog:chromeOptions": { ...options, binary: chromium } } };
    const { sessionId } = await command(`http://127.0.0.1:${port}/session`, { capabilities });
    session = `http://127.0.0.1:${port}/session/${sessionId}`;
    await command(`${session}/url`, { url: origin + page });
    const run = (script, args = []) => command(`${session}/execute/sync`, { script, args });
    await run(
      `window.outcome = null;
       import(arguments[0]).then((module) => module.measure(arguments[1]))
         .then((value) => { window.outcome = { value }; }, (error) => { window.outcome = { error: String(error?.stack ?? error) }; });`,
      [path, task],
    );
    for (const end = Date.now() + limit; Date.now() < end; await sleep(1000)) {
      const outcome = await run("return window.outcome");
      if (outcome?.error) throw new Error(outcome.error);
      if (outcome) return outcome.value;
    }
    throw new Error(`no result within ${limit / 1e3} s`);
  } finally {
    if (session) await command(session, null, "DELETE").catch(() => {});
    stop();
    process.off("exit", stop);
  }
}
