/**
 * Kinglet runs open language models on the user's own GPU. The engine lives in a dedicated worker that is started on demand; no
 * text leaves the machine.
 *
 * ```js
 * import { Kinglet } from "kinglet";
 * const engine = await Kinglet.load("/models/SmolLM2-135M-Instruct.Q4_1.gguf", { onProgress: console.log });
 * const messages = [{ role: "user", content: "What is gravity?" }];
 * for await (const chunk of await engine.chat.completions.create({ messages, stream: true })) {
 *   console.log(chunk.choices[0]?.delta.content ?? "");
 * }
 * await engine.unload();
 * ```
 */

/** A model on the GPU, ready to answer. */
export declare class Kinglet {
  private constructor();

  /**
   * Starts the worker, streams a model to the GPU and builds the pipelines. The model is never whole in memory.
   *
   * @param source URL of a GGUF file (relative to the page; any one of several parts), or of the folder of a Hugging Face model, ending
   * in `/`; or a local `File` or `Blob`, or several: all parts of a GGUF file, or the files of a Hugging Face model.
   * @throws {KingletError} `WebGPUNotAvailableError`, `GgufError`, `SourceError`, `OutOfMemoryError`, …
   * @throws {DOMException} named `AbortError` once `options.signal` is aborted; the worker is ended.
   */
  static load(source: string | URL | Blob | ArrayLike<Blob>, options?: LoadOptions): Promise<Kinglet>;

  /** What was loaded, and on what. */
  readonly info: Readonly<EngineInfo>;

  /** OpenAI's chat API. */
  readonly chat: { readonly completions: ChatCompletions };

  /** Frees the GPU and ends the worker. Requests still open fail with `ModelNotLoadedError`. May be called twice. */
  unload(): Promise<void>;

  /** The same as `unload`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

export default Kinglet;

export interface LoadOptions {
  /** Called a few times a second while loading. */
  onProgress?: (progress: LoadProgress) => void;
  /** Aborting it ends the load at once. */
  signal?: AbortSignal;
  /** Context length in tokens; by default what the model was trained with (LongRoPE: its original one), at most 131072. Keys and values of 4096 take memory from the start, the rest as a conversation gets there. */
  context?: number;
  /** Storage of keys and values: `"f16"` (default), `"f32"`, or in blocks of half (`"q8_0"`) or a quarter (`"q4_0"`) of f16's memory. */
  kvType?: "f16" | "f32" | "q8_0" | "q4_0";
  /**
   * Kernel tier: `"a+"` f16, subgroups and dot products of bytes, `"a"` f16 and subgroups, `"b"` f16, `"c"` WebGPU's floor. By default the best
   * there is; one whose f16 or subgroups are not there is an error. `"a+"` uses dot products of bytes even where the GPU only emulates them.
   */
  tier?: "a+" | "a" | "b" | "c";
  /** What matrices that are stored as plain numbers (F32, F16, BF16) become while they are loaded; by default they stay as they are. */
  quantize?: "none" | "q8_0" | "q4_0" | "q4_k";
  /** Measure once which kernels are quickest on this GPU, and remember it (default); `false` goes by a table. */
  tune?: boolean;
  /** Never round inputs of products to 8 bits, even where that is quicker (default `false`). */
  exact?: boolean;
  /** A worker of one's own that runs the package's `worker.js`, where a bundler or a policy needs it made in a special way. */
  worker?: Worker | (() => Worker);
}

export interface LoadProgress {
  /** What is happening: reading the header, streaming weights to the GPU, building pipelines. */
  phase: "header" | "weights" | "compile";
  /** Bytes of the file that have arrived. */
  loaded: number;
  /** Of how many; null where that is not known. */
  total: number | null;
  /** Bytes a second over the last seconds. */
  bytesPerSecond: number;
}

export interface EngineInfo {
  /** The model's own name. */
  model: string;
  /** GGUF's `general.architecture`. */
  architecture: string;
  /** The type that most weights are stored as, like `Q4_1`. */
  quantization: string;
  /** Number of weights. */
  parameters: number;
  /** Context length in tokens. */
  context: number;
  /** Size of the vocabulary. */
  vocabSize: number;
  /** The GPU's name as the browser tells it. */
  adapter: string;
  /** Kernel tier in use. */
  tier: "a+" | "a" | "b" | "c";
  /** The open device has subgroup operations, and kernels use them. */
  subgroups: boolean;
  /** The least and the most invocations of a subgroup; null where there are none. */
  subgroupSizes: [number, number] | null;
  /** The open device has `shader-f16`. */
  f16: boolean;
  /** Dot products of bytes are one instruction, as far as the adapter's name tells, or tier `"a+"` was forced. */
  int8Dot: boolean;
  /** Where the choice of kernels comes from. */
  tunedBy: "table" | "stored" | "measured";
  /** Bytes of the weights on the GPU. */
  weightBytes: number;
  /** Bytes of everything on the GPU when the model was loaded; the KV cache grows with conversations. */
  gpuBytes: number;
  /** Most bytes the WASM heap ever had. */
  wasmPeakBytes: number;
  /** Seconds the load took. */
  loadS: number;
  /** What the engine had to do otherwise than asked, each in a sentence. */
  notices: string[];
  /** Kinglet's version. */
  version: string;
}

/** Requests are answered in the order they were made, one after the other. */
export interface ChatCompletions {
  /**
   * Streams an answer. Resolves with the first chunk; breaking out of a loop over the stream stops the answer.
   *
   * @throws {KingletError} `InvalidRequestError` with `field`, `ContextWindowSizeExceededError`, `DeviceLostError`, …
   * @throws {DOMException} named `AbortError` once `options.signal` is aborted, from here or from the stream.
   */
  create(request: ChatRequest & { stream: true }, options?: RequestOptions): Promise<ChatStream>;
  /** Answers in one piece. */
  create(request: ChatRequest & { stream?: false | null }, options?: RequestOptions): Promise<ChatCompletion>;
  create(request: ChatRequest, options?: RequestOptions): Promise<ChatCompletion | ChatStream>;
}

export interface RequestOptions {
  /** Aborting it stops the answer within one token. */
  signal?: AbortSignal;
}

export interface ChatRequest {
  /** The conversation so far. */
  messages: ChatMessage[];
  /** Ignored: an engine holds one model. */
  model?: string;
  /** Chunks as they come instead of one reply. */
  stream?: boolean | null;
  /** `include_usage` asks for one more chunk with `usage` and no choices. */
  stream_options?: { include_usage?: boolean } | null;
  /** 0 (greedy) to 2. */
  temperature?: number | null;
  /** Nucleus sampling, 0 to 1; 1 is off. */
  top_p?: number | null;
  /** Keep the k likeliest tokens; 0 is off. */
  top_k?: number | null;
  /** Drop tokens below this share of the likeliest one's probability; 0 is off. */
  min_p?: number | null;
  /** Above 1 makes repeating less likely; 1 is off. */
  repetition_penalty?: number | null;
  /** The same seed gives the same answer on the same device. */
  seed?: number | null;
  /** Texts that end the answer, themselves left out. */
  stop?: string | string[] | null;
  /** Most tokens to answer with. */
  max_tokens?: number | null;
  /** The same, by OpenAI's newer name; wins. */
  max_completion_tokens?: number | null;
  /**
   * What happens to a conversation that leaves no room in the context for an answer (of `max_tokens` or of 512, but a quarter of the context at
   * most). `"auto"` leaves out its oldest turns, in steps of a quarter of the context, so that what stays need not be read again each time. A turn
   * is a user's message with what follows it and the system messages right before it. Leading system messages and the last turn always stay;
   * if they are too long by themselves, or with `"disabled"` (default) the whole conversation is, that is a `ContextWindowSizeExceededError`.
   */
  truncation?: "auto" | "disabled" | null;
}

export interface ChatMessage {
  role: "system" | "developer" | "user" | "assistant" | "tool";
  content: string | { type: "text"; text: string }[] | null;
}

export type FinishReason = "stop" | "length" | "abort";

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  /** Unix time in seconds. */
  created: number;
  model: string;
  choices: [{ index: 0; message: { role: "assistant"; content: string }; finish_reason: FinishReason; logprobs: null }];
  usage: Usage;
  timings: Timings;
  /** Messages that `truncation` left out: the first so many behind the leading system messages. */
  dropped_messages: number;
}

export interface ChatCompletionChunk {
  /** The same in all chunks of an answer. */
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  /** One, or none in the usage chunk. */
  choices: { index: 0; delta: { role?: "assistant"; content?: string }; finish_reason: FinishReason | null; logprobs: null }[];
  /** In the usage chunk only. */
  usage?: Usage;
  /** In the chunk that carries the finish reason. */
  timings?: Timings;
  /** In the same: messages that `truncation` left out. */
  dropped_messages?: number;
}

export interface Usage {
  /** Tokens of the conversation, cached ones included. */
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Tokens whose keys and values were still in the KV cache. */
  prompt_tokens_details: { cached_tokens: number };
}

/** llama-server's timings, in milliseconds and tokens per second. */
export interface Timings {
  prompt_n: number;
  prompt_ms: number;
  prompt_per_second: number;
  predicted_n: number;
  predicted_ms: number;
  predicted_per_second: number;
  cache_n: number;
}

/** The chunks of one streamed answer. It can be read once. */
export interface ChatStream extends AsyncIterableIterator<ChatCompletionChunk> {
  /** Stops the answer; a loop over the stream simply ends. */
  abort(): void;
  /** The same chunks as a `ReadableStream` of objects; cancelling it stops the answer. */
  toReadableStream(): ReadableStream<ChatCompletionChunk>;
}

/** Names that `KingletError.name` can have. */
export type KingletErrorName =
  | "WebGPUNotAvailableError"
  | "DeviceLostError"
  | "OutOfMemoryError"
  | "GpuError"
  | "GgufError"
  | "ModelFilesError"
  | "SourceError"
  | "UnsupportedModelError"
  | "ModelNotLoadedError"
  | "InvalidRequestError"
  | "ContextWindowSizeExceededError"
  | "ChatTemplateError"
  | "TokenizerError"
  | "WorkerError"
  | (string & {});

/** An error of Kinglet. Aborted requests are `DOMException`s named `AbortError` instead. */
export declare class KingletError extends Error {
  constructor(name: KingletErrorName, message: string, options?: { field?: string; cause?: unknown });
  readonly name: KingletErrorName;
  /** Path of the request's field at fault, like `messages[2].content`; with `InvalidRequestError` only. */
  readonly field?: string;
}
