// 8 bits a weight. A unit is two vec4 (component = row): columns 0 to 3 and 4 to 7, one byte each.

fn unit_quants(unit: u32) -> Unit {
  return Unit(columns(quants[2u * unit]), columns(quants[2u * unit + 1u]));
}
