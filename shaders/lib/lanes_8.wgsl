// Inputs of a matmul by rows are shared among 8 invocations side by side: lane l of them loads those of every eighth token row from row l on, and sum i
// of 8 is about the row that lane l ^ i loaded.

// Adds the products with columns 4 k4 to 4 k4 + 3; `rows` are where this invocation's token rows begin.
fn add(sums: ptr<function, Sums>, w: Weights, rows: vec4<u32>, k4: u32) {
  let a = x[rows.x + k4];
  let b = subgroupShuffleXor(a, 4u);
  (*sums).s0 = summed((*sums).s0, w, a);
  (*sums).s1 = summed((*sums).s1, w, quadSwapX(a));
  (*sums).s2 = summed((*sums).s2, w, quadSwapY(a));
  (*sums).s3 = summed((*sums).s3, w, quadSwapDiagonal(a));
  (*sums).s4 = summed((*sums).s4, w, b);
  (*sums).s5 = summed((*sums).s5, w, quadSwapX(b));
  (*sums).s6 = summed((*sums).s6, w, quadSwapY(b));
  (*sums).s7 = summed((*sums).s7, w, quadSwapDiagonal(b));
  let c = x[rows.y + k4];
  let d = subgroupShuffleXor(c, 4u);
  (*sums).s8 = summed((*sums).s8, w, c);
  (*sums).s9 = summed((*sums).s9, w, quadSwapX(c));
  (*sums).s10 = summed((*sums).s10, w, quadSwapY(c));
  (*sums).s11 = summed((*sums).s11, w, quadSwapDiagonal(c));
  (*sums).s12 = summed((*sums).s12, w, d);
  (*sums).s13 = summed((*sums).s13, w, quadSwapX(d));
  (*sums).s14 = summed((*sums).s14, w, quadSwapY(d));
  (*sums).s15 = summed((*sums).s15, w, quadSwapDiagonal(d));
}
