// The parts that need no peer: node --test benches/peers/peers.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";
import { benchIds } from "./ids.mjs";
import { median, ratios, summary } from "./summary.mjs";

test("the ids are those of `kinglet bench`: xorshift in 32 bits, unsigned, below the vocabulary", () => {
  const next = (x) => {
    x ^= BigInt.asUintN(32, x << 13n);
    x ^= x >> 17n;
    return BigInt.asUintN(32, x ^ (x << 5n));
  };
  let state = 0x2545f491n;
  const expected = Array.from({ length: 512 }, () => Number((state = next(state)) % 49152n));
  assert.deepEqual(benchIds(512, 49152), expected);
});

test("medians, minima and ratios", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  const run = (prefill, decode) => ({ prefill_tok_s: prefill, decode_tok_s: decode });
  const speeds = summary({ own: [run(10, 4), run(30, 6), run(20, 5)], peer: [run(5, 1), run(4, 2), run(6, 1)] });
  assert.deepEqual(speeds.own, { prefill: { median: 20, min: 10 }, decode: { median: 5, min: 4 } });
  assert.deepEqual(ratios(speeds, { peer: "own", absent: "own" }), [{ own: "own", peer: "peer", prefill: 4, decode: 5 }]);
});
