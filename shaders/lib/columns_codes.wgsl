// Four columns as codes of 8 bits, for dot4I8Packed: component = row, byte j = column j. Codes without sign are below 128 in all formats.
alias Columns = vec4<u32>;

fn bytes_to_columns(q: vec4<u32>) -> Columns {
  return q;
}
