// The facade of Kinglet: starts the worker that owns the engine and speaks its message protocol. Types and docs: index.d.ts.

/** An error of Kinglet; `name` tells which. */
export class KingletError extends Error {
  constructor(name, message, { field, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = name;
    if (field !== undefined) this.field = field;
  }
}

const abortError = () => new DOMException("The request was aborted.", "AbortError");

function toError({ name = "Error", message = "Something went wrong in the engine.", field } = {}) {
  return name === "AbortError" ? abortError() : new KingletError(name, message, { field });
}

const camelCase = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const camelKeys = (object) => Object.fromEntries(Object.entries(object).map(([key, value]) => [camelCase(key), value]));

/** The worker, with every request's answers led back to it by the request's id. */
class Channel {
  #worker;
  #open = new Map();
  #nextId = 1;
  #ready;
  #failure = null;

  constructor(worker) {
    this.#worker = worker;
    this.#ready = new Promise((resolve, reject) => this.#open.set(0, { ready: resolve, fail: reject }));
    this.#ready.catch(() => {});
    worker.addEventListener("message", ({ data }) => this.#receive(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault?.();
      const why = event.message ? `: ${event.message}` : ", or its script could not be fetched";
      this.close(new KingletError("WorkerError", `Kinglet's worker failed${why}.`));
    });
    worker.addEventListener("messageerror", () => {
      this.close(new KingletError("WorkerError", "A message of Kinglet's worker could not be read."));
    });
  }

  /** Resolves once the engine listens: what is posted before that is lost. */
  get ready() {
    return this.#ready;
  }

  /** Posts a request; `handler` gets its messages by type, and `fail(error)` if it or the worker fails. */
  request(message, handler) {
    if (this.#failure) throw this.#failure;
    const id = this.#nextId++;
    this.#open.set(id, handler);
    this.#worker.postMessage({ ...message, id });
    return id;
  }

  /** No more messages reach the request's handler. */
  forget(id) {
    return this.#open.delete(id);
  }

  abort(id) {
    if (this.#open.delete(id) && !this.#failure) this.#worker.postMessage({ type: "abort", id });
  }

  /** Ends the worker; everything open, and everything asked later, fails with `error`. */
  close(error) {
    if (this.#failure) return;
    this.#failure = error;
    this.#worker.terminate();
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const handler of open) handler.fail(error);
  }

  #receive(message) {
    if (message?.type === "ready") {
      this.#open.get(0)?.ready(message.version);
      this.#open.delete(0);
    } else if (message?.type === "error" && message.id == null) {
      this.close(toError(message.error));
    } else if (message?.type === "error") {
      const handler = this.#open.get(message.id);
      this.#open.delete(message.id);
      handler?.fail(toError(message.error));
    } else {
      this.#open.get(message?.id)?.[message.type]?.(message);
    }
  }
}

/** The chunks of one streamed answer, as they come. */
class ChatStream {
  #chunks = [];
  #waiting = [];
  #over = false;
  #error = null;
  #stop;

  constructor(stop) {
    this.#stop = stop;
  }

  /** @internal */
  static feed = {
    push(stream, chunk) {
      if (stream.#over) return;
      const waiting = stream.#waiting.shift();
      if (waiting) waiting.resolve({ done: false, value: chunk });
      else stream.#chunks.push(chunk);
    },
    end(stream) {
      stream.#over = true;
      for (const { resolve } of stream.#waiting.splice(0)) resolve({ done: true, value: undefined });
    },
    fail(stream, error) {
      if (stream.#over) return;
      stream.#over = true;
      const first = stream.#waiting.shift();
      // What was not read yet is dropped: an abort is felt at once, not after a backlog.
      stream.#chunks.length = 0;
      if (first) first.reject(error);
      else stream.#error = error;
      for (const { resolve } of stream.#waiting.splice(0)) resolve({ done: true, value: undefined });
    },
  };

  /** Stops the answer; a loop over the stream simply ends. */
  abort() {
    this.#chunks.length = 0;
    ChatStream.feed.end(this);
    this.#stop();
  }

  next() {
    if (this.#chunks.length > 0) return Promise.resolve({ done: false, value: this.#chunks.shift() });
    if (this.#error) {
      const error = this.#error;
      this.#error = null;
      return Promise.reject(error);
    }
    if (this.#over) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(value) {
    this.abort();
    return Promise.resolve({ done: true, value });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  toReadableStream() {
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { done, value } = await this.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: () => this.abort(),
      },
      { highWaterMark: 0 },
    );
  }
}

/** `request` as plain data, so that nothing in it can fail to cross to the worker or change on its way. */
function plain(request) {
  if (request === null || typeof request !== "object") {
    throw new KingletError("InvalidRequestError", "The request must be an object with `messages`.");
  }
  const { signal: _signal, abortSignal: _abortSignal, ...body } = request;
  const check = (key, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new KingletError("InvalidRequestError", `\`${key}\` must be a finite number, not ${value}`, { field: key });
    }
    return value;
  };
  try {
    return JSON.parse(JSON.stringify(body, check));
  } catch (cause) {
    if (cause instanceof KingletError) throw cause;
    throw new KingletError("InvalidRequestError", `The request cannot be written as JSON: ${cause.message}`, { cause });
  }
}

/** Runs `start(settle)` as a promise that an abort of `signal` rejects at once, calling `onAbort`. */
function abortable(signal, onAbort, start) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError());
    const listener = () => {
      onAbort();
      reject(abortError());
    };
    const settle = (act) => (value) => {
      signal?.removeEventListener("abort", listener);
      act(value);
    };
    signal?.addEventListener("abort", listener, { once: true });
    try {
      start(settle(resolve), settle(reject));
    } catch (error) {
      settle(reject)(error);
    }
  });
}

class Completions {
  #channel;

  constructor(channel) {
    this.#channel = channel;
  }

  async create(request, options = {}) {
    const signal = options.signal ?? request?.signal ?? request?.abortSignal;
    const body = plain(request);
    return body.stream === true ? this.#stream(body, signal) : this.#reply(body, signal);
  }

  #reply(request, signal) {
    const channel = this.#channel;
    let id;
    return abortable(signal, () => channel.abort(id), (resolve, reject) => {
      const done = ({ reply }) => {
        channel.forget(id);
        resolve(reply);
      };
      id = channel.request({ type: "chat", request }, { done, fail: reject });
    });
  }

  #stream(request, signal) {
    const channel = this.#channel;
    const { push, end, fail } = ChatStream.feed;
    let id;
    let listener;
    const over = () => signal?.removeEventListener("abort", listener);
    const stream = new ChatStream(() => {
      over();
      channel.abort(id);
    });
    // The promise waits for the first chunk, so that a request that is refused rejects it instead of the first read.
    return abortable(signal, () => channel.abort(id), (resolve, reject) => {
      const started = () => {
        if (listener) return;
        listener = () => {
          channel.abort(id);
          fail(stream, abortError());
        };
        resolve(stream);
        signal?.addEventListener("abort", listener, { once: true });
      };
      id = channel.request({ type: "chat", request }, {
        chunk({ chunk }) {
          push(stream, chunk);
          started();
        },
        done() {
          channel.forget(id);
          started();
          over();
          end(stream);
        },
        fail(error) {
          over();
          if (listener) fail(stream, error);
          else reject(error);
        },
      });
    });
  }
}

function startWorker() {
  if (!globalThis.navigator?.gpu) {
    const why = globalThis.isSecureContext === false
      ? "this page is not a secure context: serve it over https or from localhost"
      : "this browser has none, or it is switched off";
    throw new KingletError("WebGPUNotAvailableError", `Kinglet needs WebGPU, but ${why}.`);
  }
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

function loadMessage(source, { context, kvType, tier, quantize, tune, exact }) {
  const options = JSON.parse(JSON.stringify({ context, kv_type: kvType, tier, quantize, tune, exact }));
  const isBlob = (value) => typeof Blob !== "undefined" && value instanceof Blob;
  if (isBlob(source)) return { type: "load", files: [source], options };
  const several = typeof source === "object" && source?.length > 0 ? Array.from(source) : [];
  if (several.length > 0 && several.every(isBlob)) return { type: "load", files: several, options };
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw new KingletError("InvalidRequestError", "Kinglet.load takes the URL of a model, a File, a Blob, or several of them.");
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return { type: "load", url: new URL(source, base).href, options };
  } catch (cause) {
    throw new KingletError("InvalidRequestError", `"${source}" is not a URL.`, { cause });
  }
}

/** A loaded model and the worker that runs it. */
export class Kinglet {
  #channel;
  #unloading = null;

  constructor(channel, info, version) {
    this.#channel = channel;
    this.info = Object.freeze({ ...camelKeys(info), version });
    this.chat = Object.freeze({ completions: Object.freeze(new Completions(channel)) });
  }

  static async load(source, options = {}) {
    const { onProgress, signal, worker } = options;
    if (signal?.aborted) throw abortError();
    const message = loadMessage(source, options);
    const channel = new Channel((typeof worker === "function" ? worker() : worker) ?? startWorker());
    try {
      return await abortable(signal, () => {}, (resolve, reject) => {
        channel.ready.then((version) => {
          const id = channel.request(message, {
            progress({ phase, loaded, total, bytes_per_second }) {
              onProgress?.({ phase, loaded, total: total ?? null, bytesPerSecond: bytes_per_second ?? 0 });
            },
            loaded({ info }) {
              channel.forget(id);
              resolve(new Kinglet(channel, info, version));
            },
            fail: reject,
          });
        }).catch(reject);
      });
    } catch (error) {
      channel.close(error);
      throw error;
    }
  }

  unload() {
    this.#unloading ??= this.#end();
    return this.#unloading;
  }

  async #end() {
    const gone = new KingletError("ModelNotLoadedError", "The model was unloaded; load it again with Kinglet.load.");
    let timer;
    try {
      await new Promise((resolve) => {
        // Ending the worker frees the GPU too: a worker that does not answer must not keep the caller waiting.
        timer = setTimeout(resolve, 2000);
        this.#channel.request({ type: "unload" }, { unloaded: resolve, fail: resolve });
      });
    } catch {
      // The worker is gone already, which is what was asked for.
    } finally {
      clearTimeout(timer);
      this.#channel.close(gone);
    }
  }

  [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    return this.unload();
  }
}

export default Kinglet;
