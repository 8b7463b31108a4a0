// A worker that speaks the protocol without an engine: it answers each chat with the words of the last message, one a tick.

const head = (n) => ({ id: `chatcmpl-${n}`, created: 1, model: "fake" });
const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, prompt_tokens_details: { cached_tokens: 0 } };
const timings = { prompt_n: 3, prompt_ms: 1, prompt_per_second: 3000, predicted_n: 2, predicted_ms: 1, predicted_per_second: 2000, cache_n: 0 };

export class FakeWorker extends EventTarget {
  posted = [];
  terminated = false;
  #queue = [];
  #busy = false;
  #aborted = new Set();
  #loading = null;

  constructor({ ready = true, load = "ok" } = {}) {
    super();
    this.load = load;
    if (ready) queueMicrotask(() => this.say({ type: "ready", version: "9.9.9" }));
  }

  say(message) {
    if (!this.terminated) this.dispatchEvent(new MessageEvent("message", { data: structuredClone(message) }));
  }

  crash(message) {
    this.dispatchEvent(Object.assign(new Event("error"), { message }));
  }

  terminate() {
    this.terminated = true;
  }

  postMessage(data) {
    const message = structuredClone(data);
    this.posted.push(message);
    setTimeout(() => this.#receive(message), 0);
  }

  sent(type) {
    return this.posted.filter((message) => message.type === type);
  }

  #receive(message) {
    const { id } = message;
    if (message.type === "load") {
      if (this.load === "hang") return;
      if (this.load !== "ok") return this.say({ type: "error", id, error: this.load });
      this.say({ type: "progress", id, phase: "weights", loaded: 5, total: 10, bytes_per_second: 50 });
      this.say({ type: "loaded", id, info: { model: "fake", context: 2048, weight_bytes: 10, tier: "c", notices: [] } });
    } else if (message.type === "chat") {
      if (!Array.isArray(message.request.messages)) {
        const error = { name: "InvalidRequestError", message: "`messages` is missing", field: "messages" };
        return this.say({ type: "error", id, error });
      }
      this.#queue.push(message);
      this.#run();
    } else if (message.type === "abort") {
      this.#aborted.add(id);
    } else if (message.type === "unload") {
      this.say({ type: "unloaded", id });
    }
  }

  async #run() {
    if (this.#busy) return;
    this.#busy = true;
    for (let job; (job = this.#queue.shift()); ) await this.#answer(job);
    this.#busy = false;
  }

  async #answer({ id, request }) {
    const words = request.messages.at(-1).content.split(" ");
    const chunk = (delta, finish_reason = null, more = {}) => ({
      type: "chunk", id,
      chunk: { ...head(id), object: "chat.completion.chunk", choices: [{ index: 0, delta, finish_reason, logprobs: null }], ...more },
    });
    if (request.stream) this.say(chunk({ role: "assistant", content: "" }));
    let text = "";
    let finish = "stop";
    for (const word of words) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      if (this.#aborted.has(id)) {
        finish = "abort";
        break;
      }
      const piece = (text ? " " : "") + word;
      text += piece;
      if (request.stream) this.say(chunk({ content: piece }));
    }
    if (request.stream) this.say(chunk({}, finish, { timings }));
    const choices = [{ index: 0, message: { role: "assistant", content: text }, finish_reason: finish, logprobs: null }];
    this.say({ type: "done", id, reply: { ...head(id), object: "chat.completion", choices, usage, timings } });
  }
}
