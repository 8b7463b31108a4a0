//! The loops of AMD's assembly as Mesa prints it: what is in each, how often each runs, and what it loads.
//!
//! A compiler's text is no interface, so that nothing here may fail: what is not understood is not counted as a loop, a load or a bound.

use serde::Serialize;
use std::collections::BTreeMap;

/// A loop, or (the first one) the whole program.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Loop {
    /// Index of the loop around it.
    pub parent: Option<usize>,
    /// Instructions of one turn that are in no inner loop.
    pub instructions: u32,
    /// Turns, where a counter that starts at 0 is compared with a number, or where the text's constants tell (turns.rs).
    pub turns: Option<u32>,
    /// Bytes that an invocation loads in one turn, inner loops not counted, by binding.
    pub loads: BTreeMap<u32, u32>,
}

struct Line<'a> {
    name: &'a str,
    operands: Vec<&'a str>,
}

/// The loops in the order of their first instructions, outer ones before inner ones.
pub fn loops(assembly: &str) -> Vec<Loop> {
    let (lines, labels) = parse(assembly);
    let mut spans = vec![(0, lines.len())];
    for (at, line) in lines.iter().enumerate() {
        let jumps = line.name == "s_branch" || line.name.starts_with("s_cbranch");
        let target = line.operands.first().and_then(|label| labels.get(label)).copied();
        // Jumping back is what makes a loop; several jumps to one place are turns of the same one.
        if let (true, Some(start)) = (jumps, target.filter(|start| *start <= at)) {
            match spans[1..].iter_mut().find(|span| span.0 == start) {
                Some(span) => span.1 = at + 1,
                None => spans.push((start, at + 1)),
            }
        }
    }
    spans[1..].sort_by_key(|&(start, end)| (start, std::cmp::Reverse(end)));
    let inside = |at: usize| spans.iter().rposition(|&(start, end)| start <= at && at < end).unwrap_or_default();
    let mut loops: Vec<Loop> = Vec::new();
    for (index, &(start, end)) in spans.iter().enumerate() {
        let parent = spans[..index].iter().rposition(|&(from, to)| from <= start && end <= to);
        loops.push(Loop { parent, turns: turns(&lines, start, end).filter(|_| index > 0), ..Loop::default() });
    }
    let mut descriptors = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let own = &mut loops[inside(at)];
        own.instructions += 1;
        track(&mut descriptors, line);
        if let Some((binding, bytes)) = load(&descriptors, line) {
            *own.loads.entry(binding).or_default() += bytes;
        }
    }
    loops
}

/// Instructions, and the labels with the number of the instruction that each stands before.
fn parse(assembly: &str) -> (Vec<Line<'_>>, BTreeMap<&str, usize>) {
    let mut lines = Vec::new();
    let mut labels = BTreeMap::new();
    for text in assembly.lines() {
        let text = text.split([';', '/']).next().unwrap_or_default().trim();
        if let Some(label) = text.strip_suffix(':') {
            labels.insert(label, lines.len());
        } else if let Some(name) = text.split_whitespace().next().filter(|name| name.contains('_')) {
            let operands = text[name.len()..].split([',', ' ']).map(str::trim).filter(|operand| !operand.is_empty()).collect();
            lines.push(Line { name, operands });
        }
    }
    (lines, labels)
}

/// Turns of the loop: a comparison of a counter with a number, its step, and its start at 0.
fn turns(lines: &[Line<'_>], start: usize, end: usize) -> Option<u32> {
    let body = &lines[start..end];
    body.iter().filter(|line| line.name.starts_with("s_cmp")).find_map(|line| {
        let [counter, bound] = line.operands[..] else { return None };
        let bound = number(bound)?;
        let steps = |line: &Line<'_>| {
            let adds = matches!(line.name, "s_add_i32" | "s_add_u32" | "s_addk_i32");
            let own = adds && line.operands.first() == Some(&counter);
            if own { number(line.operands.last()?).filter(|step| *step > 0) } else { None }
        };
        let step = body.iter().find_map(steps)?;
        let begins = lines[..start].iter().rev().find(|line| line.operands.first() == Some(&counter))?;
        let from_zero = begins.name.starts_with("s_mov") && begins.operands.get(1).and_then(|from| number(from)) == Some(0);
        // `>= bound` and `== bound` leave at the bound, `> bound` after it.
        let past = u32::from(line.name.contains("_gt_") || line.name.contains("_le_"));
        from_zero.then(|| bound.div_ceil(step) + past)
    })
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Bytes of a buffer's descriptor in its set.
const DESCRIPTOR: u32 = 16;

/// Remembers which binding's descriptor each scalar register holds the beginning of: `s_load_dwordx8 s[8:15], s[2:3], 0x20` brings two.
fn track<'a>(descriptors: &mut BTreeMap<u32, u32>, line: &Line<'a>) {
    let Some(target) = line.operands.first().and_then(|operand| scalars(operand)) else { return };
    descriptors.retain(|register, _| !target.contains(register));
    let words = match line.name {
        "s_load_dwordx4" | "s_load_b128" => 4,
        "s_load_dwordx8" | "s_load_b256" => 8,
        "s_load_dwordx16" | "s_load_b512" => 16,
        _ => return,
    };
    let offset = match line.operands.get(2) {
        Some(&"null") => Some(0),
        Some(operand) => number(operand),
        None => None,
    };
    if let Some(offset) = offset {
        for word in (0..words).step_by(4) {
            descriptors.insert(target.start + word, (offset + 4 * word) / DESCRIPTOR);
        }
    }
}

/// `s7` or `s[8:11]`.
fn scalars(operand: &str) -> Option<std::ops::Range<u32>> {
    let numbers = operand.strip_prefix('s')?;
    match numbers.strip_prefix('[').and_then(|range| range.strip_suffix(']')) {
        Some(range) => {
            let (first, last) = range.split_once(':')?;
            Some(number(first)?..number(last)? + 1)
        }
        None => {
            let register = number(numbers)?;
            Some(register..register + 1)
        }
    }
}

/// Binding and bytes of a buffer load.
fn load(descriptors: &BTreeMap<u32, u32>, line: &Line<'_>) -> Option<(u32, u32)> {
    let kind = line.name.trim_start_matches("s_").strip_prefix("buffer_load_")?;
    let bytes = match kind {
        "dword" | "b32" => 4,
        "dwordx2" | "b64" => 8,
        "dwordx3" | "b96" => 12,
        "dwordx4" | "b128" => 16,
        "dwordx8" | "b256" => 32,
        "ushort" | "u16" | "sshort" | "i16" => 2,
        "ubyte" | "u8" | "sbyte" | "i8" => 1,
        _ => return None,
    };
    let descriptor = line.operands.iter().skip(1).find_map(|operand| scalars(operand).filter(|range| range.len() == 4))?;
    Some((*descriptors.get(&descriptor.start)?, bytes))
}

#[cfg(test)]
mod tests {
    use super::{Loop, loops};

    /// A loop over 6 tiles with an inner one of 8 turns, in the spelling of RDNA 2, and a loop that its invocations leave one by one.
    const TILES: &str = "
BB0:
	s_load_dwordx8 s[8:15], s[2:3], 0x20                        ; f40c0201 fa000020
	s_mov_b32 s4, 0                                             ; be840380
BB1:
	s_cmp_ge_u32 s4, 0xc0                                       ; bf09ff04
	s_cbranch_scc1 BB6                                          ; bf850010
	s_load_dwordx4 s[16:19], s[2:3], null                       ; f4080401 fa000000
	buffer_load_dwordx4 v[4:7], v1, s[12:15], 0 offen           ; e0381000 80030401
	buffer_load_dwordx2 v[8:9], v1, s[16:19], 0 offen offset:16 ; e0341010 80040801
	s_mov_b32 s5, 0                                             ; be850380
BB3:
	s_cmp_ge_u32 s5, 8                                          ; bf098805
	s_cbranch_scc1 BB5                                          ; bf850004
	v_fmac_f32_e32 v10, v4, v8                                  ; 56141104
	s_add_i32 s5, s5, 1                                         ; 81058105
	s_branch BB3                                                ; bf82fffb
BB5:
	s_add_i32 s4, s4, 32                                        ; 8104a004
	s_branch BB1                                                ; bf82ffee
BB6:
	v_cmpx_le_u32_e32 18, v3                                    ; 7da60692
	s_cbranch_execnz BB6                                        ; bf89fffe
	s_endpgm                                                    ; bf810000
";

    #[test]
    fn loops_are_found_with_their_turns_and_loads() {
        let expected = [
            Loop { parent: None, instructions: 3, turns: None, loads: [].into() },
            Loop { parent: Some(0), instructions: 8, turns: Some(6), loads: [(3, 16), (0, 8)].into() },
            Loop { parent: Some(1), instructions: 5, turns: Some(8), loads: [].into() },
            Loop { parent: Some(0), instructions: 2, turns: None, loads: [].into() },
        ];
        assert_eq!(loops(TILES), expected);
    }

    #[test]
    fn the_spelling_of_rdna_3_means_the_same() {
        let newer = [("s_load_dwordx8", "s_load_b256"), ("s_load_dwordx4", "s_load_b128"), ("load_dwordx4", "load_b128")];
        let text = newer.iter().fold(TILES.replace("load_dwordx2", "load_b64"), |text, (old, new)| text.replace(old, new));
        assert_eq!(loops(&text), loops(TILES));
    }

    #[test]
    fn what_is_not_understood_is_not_counted() {
        assert_eq!(loops("").len(), 1);
        assert_eq!(loops("what: is\n\tthis_is s_branch nowhere\n\ts_branch BB7\n\tbuffer_load_dword\n")[0].instructions, 3);
    }
}
