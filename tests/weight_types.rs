//! Dequantization on the CPU against an independent implementation, bit for bit.

#[path = "common/types.rs"]
mod types;

use kinglet::weights::dequant::dequantized;

#[test]
fn every_type_means_what_its_inventors_say() {
    for types::Sample { kind, bytes, numbers } in types::samples() {
        let ours = dequantized(kind, &bytes, numbers.len()).unwrap();
        for (i, (ours, number)) in ours.iter().zip(&numbers).enumerate() {
            assert_eq!(ours.to_bits(), number.to_bits(), "{kind}: number {i}: {ours} != {number}");
        }
    }
}
