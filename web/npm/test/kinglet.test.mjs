import assert from "node:assert/strict";
import { test } from "node:test";
import { Kinglet, KingletError } from "../index.js";
import { FakeWorker } from "./fake-worker.mjs";

const URL_OF_MODEL = "https://example.org/model.gguf";
const say = (content, more = {}) => ({ messages: [{ role: "user", content }], ...more });
const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";
const named = (name) => (error) => error instanceof KingletError && error.name === name;

async function loaded(options) {
  const worker = new FakeWorker(options);
  const engine = await Kinglet.load(URL_OF_MODEL, { worker });
  return { worker, engine };
}

async function collect(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  return text;
}

test("load sends url and options, tells progress and gives the info", async () => {
  const worker = new FakeWorker();
  const progress = [];
  const engine = await Kinglet.load(URL_OF_MODEL, {
    worker: () => worker, onProgress: (p) => progress.push(p), context: 1024, kvType: "f32", tier: "c", quantize: "q8_0",
  });
  assert.deepEqual(worker.posted, [
    { type: "load", id: 1, url: URL_OF_MODEL, options: { context: 1024, kv_type: "f32", tier: "c", quantize: "q8_0" } },
  ]);
  assert.deepEqual(progress, [{ phase: "weights", loaded: 5, total: 10, bytesPerSecond: 50 }]);
  assert.equal(engine.info.model, "fake");
  assert.equal(engine.info.weightBytes, 10);
  assert.equal(engine.info.version, "9.9.9");
});

test("blobs go beside the message", async () => {
  for (const source of [new Blob(["GGUF"]), [new Blob(["GG"]), new Blob(["UF"])]]) {
    const worker = new FakeWorker();
    await Kinglet.load(source, { worker });
    assert.equal(worker.posted[0].url, undefined);
    assert.equal(worker.posted[0].files.length, source.length ?? 1);
    assert.ok(worker.posted[0].files.every((file) => file instanceof Blob));
  }
  for (const source of [[], ["a.gguf"], [new Blob([]), 1], {}, null]) {
    await assert.rejects(Kinglet.load(source, { worker: new FakeWorker() }), named("InvalidRequestError"));
  }
});

test("nothing is posted before the worker is ready", async () => {
  const worker = new FakeWorker({ ready: false });
  const loading = Kinglet.load(URL_OF_MODEL, { worker });
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(worker.posted.length, 0);
  worker.say({ type: "ready", version: "1" });
  await loading;
  assert.equal(worker.posted.length, 1);
});

test("a failed load rejects with its name and ends the worker", async () => {
  const worker = new FakeWorker({ load: { name: "GgufError", message: "not a GGUF file" } });
  await assert.rejects(Kinglet.load(URL_OF_MODEL, { worker }), (error) => named("GgufError")(error) && error.message === "not a GGUF file");
  assert.ok(worker.terminated);
});

test("a wrong source and a missing WebGPU are named", async () => {
  await assert.rejects(Kinglet.load(42, { worker: new FakeWorker() }), named("InvalidRequestError"));
  await assert.rejects(Kinglet.load("not a url", { worker: new FakeWorker() }), named("InvalidRequestError"));
  await assert.rejects(Kinglet.load(URL_OF_MODEL), named("WebGPUNotAvailableError"));
});

test("an aborted load rejects at once and ends the worker", async () => {
  const worker = new FakeWorker({ load: "hang" });
  const controller = new AbortController();
  const loading = Kinglet.load(URL_OF_MODEL, { worker, signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  await assert.rejects(loading, isAbort);
  assert.ok(worker.terminated);
  await assert.rejects(Kinglet.load(URL_OF_MODEL, { worker: new FakeWorker(), signal: controller.signal }), isAbort);
});

test("a worker whose script fails rejects the load", async () => {
  const worker = new FakeWorker({ ready: false });
  const loading = Kinglet.load(URL_OF_MODEL, { worker });
  worker.crash("boom");
  await assert.rejects(loading, (error) => named("WorkerError")(error) && /boom/.test(error.message));
});

test("a reply comes whole, and the request goes over unchanged", async () => {
  const { worker, engine } = await loaded();
  const request = say("a b c", { temperature: 0, seed: 7, stop: ["x"], max_tokens: 9 });
  const reply = await engine.chat.completions.create(request);
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.choices[0].message.content, "a b c");
  assert.equal(reply.usage.total_tokens, 5);
  assert.deepEqual(worker.sent("chat")[0].request, request);
});

test("a stream gives its chunks in order", async () => {
  const { engine } = await loaded();
  const chunks = [];
  for await (const chunk of await engine.chat.completions.create(say("a b c", { stream: true }))) chunks.push(chunk);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), "a b c");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.at(-1).timings);
});

test("a stream that is read late has lost nothing", async () => {
  const { engine } = await loaded();
  const stream = await engine.chat.completions.create(say("a b c", { stream: true }));
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.equal(await collect(stream), "a b c");
  assert.equal(await collect(stream), "");
});

test("a stream is a ReadableStream too", async () => {
  const { engine, worker } = await loaded();
  const stream = await engine.chat.completions.create(say("a b c", { stream: true }));
  const reader = stream.toReadableStream().getReader();
  assert.equal((await reader.read()).value.object, "chat.completion.chunk");
  await reader.cancel();
  assert.equal(worker.sent("abort").length, 1);
});

test("breaking out of the loop stops the answer", async () => {
  const { worker, engine } = await loaded();
  for await (const chunk of await engine.chat.completions.create(say("a b c d e f", { stream: true }))) {
    if (chunk.choices[0].delta.content) break;
  }
  assert.deepEqual(worker.sent("abort"), [{ type: "abort", id: 2 }]);
  assert.equal((await engine.chat.completions.create(say("next"))).choices[0].message.content, "next");
});

test("requests at once are not mixed", async () => {
  const { engine } = await loaded();
  const completions = engine.chat.completions;
  const [one, two, three] = await Promise.all([
    completions.create(say("a a a", { stream: true })).then(collect),
    completions.create(say("b b b", { stream: true })).then(collect),
    completions.create(say("c c c")),
  ]);
  assert.equal(one, "a a a");
  assert.equal(two, "b b b");
  assert.equal(three.choices[0].message.content, "c c c");
});

test("an abort rejects a reply at once, and the next request is answered", async () => {
  const { worker, engine } = await loaded();
  const controller = new AbortController();
  const answer = engine.chat.completions.create(say("a ".repeat(500)), { signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  const start = performance.now();
  await assert.rejects(answer, isAbort);
  assert.ok(performance.now() - start < 500);
  assert.equal(worker.sent("abort").length, 1);
  assert.equal((await engine.chat.completions.create(say("ok"))).choices[0].message.content, "ok");
});

test("an abort in mid-stream rejects the read, even of a backlog", async () => {
  const { worker, engine } = await loaded();
  for (const wait of [0, 20]) {
    const controller = new AbortController();
    const stream = await engine.chat.completions.create(say("a ".repeat(500), { stream: true }), { signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, wait));
    controller.abort();
    await assert.rejects(collect(stream), isAbort);
    assert.equal(await collect(stream), "");
  }
  assert.equal(worker.sent("abort").length, 2);
});

test("an abort before the start sends nothing, one after the end does nothing", async () => {
  const { worker, engine } = await loaded();
  await assert.rejects(engine.chat.completions.create(say("a"), { signal: AbortSignal.abort() }), isAbort);
  assert.equal(worker.sent("chat").length, 0);
  const controller = new AbortController();
  await engine.chat.completions.create(say("a"), { signal: controller.signal });
  assert.equal(await collect(await engine.chat.completions.create(say("b", { stream: true }), { signal: controller.signal })), "b");
  controller.abort();
  assert.equal(worker.sent("abort").length, 0);
});

test("a refused request rejects create itself, streamed or not", async () => {
  const { engine } = await loaded();
  for (const stream of [false, true]) {
    await assert.rejects(engine.chat.completions.create({ stream }), (error) => named("InvalidRequestError")(error) && error.field === "messages");
  }
  await assert.rejects(engine.chat.completions.create(), named("InvalidRequestError"));
  await assert.rejects(engine.chat.completions.create(say("a", { temperature: NaN })), (error) => error.field === "temperature");
  const circular = say("a");
  circular.self = circular;
  await assert.rejects(engine.chat.completions.create(circular), named("InvalidRequestError"));
});

test("a lost device fails everything open and everything later", async () => {
  const { worker, engine } = await loaded();
  const stream = await engine.chat.completions.create(say("a ".repeat(500), { stream: true }));
  const waiting = engine.chat.completions.create(say("b"));
  worker.say({ type: "error", id: null, error: { name: "DeviceLostError", message: "the GPU went away" } });
  await assert.rejects(collect(stream), named("DeviceLostError"));
  await assert.rejects(waiting, named("DeviceLostError"));
  await assert.rejects(engine.chat.completions.create(say("c")), named("DeviceLostError"));
  await engine.unload();
});

test("unload ends the worker, fails what is open, and may be called twice", async () => {
  const { worker, engine } = await loaded();
  const open = engine.chat.completions.create(say("a ".repeat(500)));
  const failed = assert.rejects(open, named("ModelNotLoadedError"));
  await Promise.all([engine.unload(), engine.unload()]);
  await failed;
  assert.equal(worker.sent("unload").length, 1);
  assert.ok(worker.terminated);
  await assert.rejects(engine.chat.completions.create(say("b")), named("ModelNotLoadedError"));
});
