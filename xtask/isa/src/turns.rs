//! How often a loop turns by its text: where the counter does not start at 0, the compiler's code names no number of turns, but constants do.

use crate::asm::Loop;
use naga::valid::FunctionInfo;
use naga::{BinaryOperator, Block, Expression, Function, Handle, Literal, LocalVariable, Module, Statement};
use std::collections::BTreeMap;

/// A loop whose turns are known, told from others by what it loads.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Of the invocation that has most of them.
    pub turns: u32,
    /// Bytes loaded in one turn, by binding.
    pub loads: BTreeMap<u32, u32>,
}

/// Gives loops of the code the turns of those in the text that load the same, if these agree.
pub fn complete(loops: &mut [Loop], counted: &[Counted]) {
    for one in loops.iter_mut().skip(1).filter(|one| one.turns.is_none() && !one.loads.is_empty()) {
        let mut same = counted.iter().filter(|counted| counted.loads == one.loads).map(|counted| counted.turns);
        if let Some(turns) = same.next().filter(|turns| same.all(|other| other == *turns)) {
            one.turns = Some(turns);
        }
    }
}

/// All loops `for (var i = start; i < BOUND; i += STEP)` whose start is below STEP, that call nothing and have no inner loop.
pub fn counted(module: &Module, info: &naga::valid::ModuleInfo) -> Vec<Counted> {
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entries = module.entry_points.iter().enumerate().map(|(index, entry)| (&entry.function, info.get_entry_point(index)));
    functions
        .chain(entries)
        .flat_map(|(function, info)| {
            let text = Text { module, function, info };
            text.loops(&function.body)
        })
        .collect()
}

struct Text<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
}

impl Text<'_> {
    fn loops(&self, block: &Block) -> Vec<Counted> {
        let inner = |statement: &Statement| match statement {
            Statement::Block(block) => self.loops(block),
            Statement::If { accept, reject, .. } => [self.loops(accept), self.loops(reject)].concat(),
            Statement::Switch { cases, .. } => cases.iter().flat_map(|case| self.loops(&case.body)).collect(),
            Statement::Loop { body, continuing, .. } => {
                let own = self.turns(body, continuing).and_then(|turns| Some(Counted { turns, loads: self.loads(body)? }));
                own.map_or_else(|| self.loops(body), |own| vec![own])
            }
            _ => Vec::new(),
        };
        block.iter().flat_map(inner).collect()
    }

    fn turns(&self, body: &Block, continuing: &Block) -> Option<u32> {
        let (counter, bound) = body.iter().find_map(|statement| match statement {
            Statement::If { condition, reject, .. } if matches!(reject[..], [Statement::Break]) => {
                let (counter, bound) = self.binary(*condition, BinaryOperator::Less)?;
                Some((self.local(counter)?, self.number(bound)?))
            }
            _ => None,
        })?;
        let (before, step) = self.binary(self.only_store(continuing, counter)?, BinaryOperator::Add)?;
        let step = self.number(step).filter(|step| *step > 0 && self.local(before) == Some(counter))?;
        // The counter is the loop's own, so that what else is stored there is where it starts.
        let stores = self.stores(&self.function.body, counter);
        let start = match (&stores[..], self.function.local_variables[counter].init) {
            ([start, _], None) => *start,
            ([_], Some(start)) => start,
            _ => return None,
        };
        let below = match self.binary(start, BinaryOperator::Modulo) {
            Some((_, modulus)) => self.number(modulus)? <= step,
            None => self.number(start)? == 0,
        };
        below.then(|| bound.div_ceil(step))
    }

    fn binary(&self, expression: Handle<Expression>, operator: BinaryOperator) -> Option<(Handle<Expression>, Handle<Expression>)> {
        match self.function.expressions[expression] {
            Expression::Binary { op, left, right } if op == operator => Some((left, right)),
            _ => None,
        }
    }

    fn number(&self, expression: Handle<Expression>) -> Option<u32> {
        let literal = match &self.function.expressions[expression] {
            Expression::Constant(constant) => &self.module.global_expressions[self.module.constants[*constant].init],
            other => other,
        };
        match literal {
            Expression::Literal(Literal::U32(value)) => Some(*value),
            _ => None,
        }
    }

    /// The variable whose value an expression is.
    fn local(&self, expression: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.function.expressions[expression] {
            Expression::Load { pointer } => self.place(pointer),
            _ => None,
        }
    }

    fn place(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.function.expressions[pointer] {
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        }
    }

    fn only_store(&self, block: &Block, to: Handle<LocalVariable>) -> Option<Handle<Expression>> {
        let stores = self.stores(block, to);
        if let [value] = stores[..] { Some(value) } else { None }
    }

    /// What is stored in a variable, in the order of the text.
    fn stores(&self, block: &Block, to: Handle<LocalVariable>) -> Vec<Handle<Expression>> {
        let inner = |statement: &Statement| match statement {
            Statement::Store { pointer, value } if self.place(*pointer) == Some(to) => vec![*value],
            Statement::Block(block) => self.stores(block, to),
            Statement::If { accept, reject, .. } => [self.stores(accept, to), self.stores(reject, to)].concat(),
            Statement::Switch { cases, .. } => cases.iter().flat_map(|case| self.stores(&case.body, to)).collect(),
            Statement::Loop { body, continuing, .. } => [self.stores(body, to), self.stores(continuing, to)].concat(),
            _ => Vec::new(),
        };
        block.iter().flat_map(inner).collect()
    }

    /// Bytes that a block loads from bindings; `None` if it has branches with loads of their own kind: calls, loops, switches.
    fn loads(&self, block: &Block) -> Option<BTreeMap<u32, u32>> {
        let mut all = BTreeMap::new();
        for statement in block {
            match statement {
                Statement::Emit(range) => {
                    for expression in range.clone() {
                        if let Some((binding, bytes)) = self.load(expression) {
                            *all.entry(binding).or_default() += bytes;
                        }
                    }
                }
                Statement::Block(inner) => {
                    self.loads(inner)?.into_iter().for_each(|(at, bytes)| *all.entry(at).or_default() += bytes)
                }
                Statement::Call { .. } | Statement::Loop { .. } | Statement::Switch { .. } => return None,
                Statement::If { accept, reject, .. } if !self.loads(accept)?.is_empty() || !self.loads(reject)?.is_empty() => {
                    return None;
                }
                _ => {}
            }
        }
        Some(all)
    }

    fn load(&self, expression: Handle<Expression>) -> Option<(u32, u32)> {
        let Expression::Load { mut pointer } = self.function.expressions[expression] else { return None };
        let bytes = self.info[expression].ty.inner_with(&self.module.types).size(self.module.to_ctx());
        loop {
            match self.function.expressions[pointer] {
                Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => pointer = base,
                Expression::GlobalVariable(variable) => {
                    return Some((self.module.global_variables[variable].binding?.binding, bytes));
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, complete};
    use crate::asm::Loop;
    use crate::shader::Shader;

    fn counted(loops: &str) -> Vec<Counted> {
        let text = format!(
            "const PARTIALS: u32 = 18u;
             const GROUP: u32 = 8u;
             @group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
             @group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
             fn all(index: u32) -> vec4<f32> {{
                 var sum = vec4<f32>(0.0);
                 {loops}
                 return sum;
             }}
             @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {{ y[i] = all(i); }}"
        );
        Shader::new(&text).expect("it compiles").counted
    }

    #[test]
    fn constants_count_the_turns_of_a_loop_that_starts_below_its_step() {
        let found = counted("for (var i = index % GROUP; i < PARTIALS; i += GROUP) { sum += x[144u + i]; }");
        assert_eq!(found, [Counted { turns: 3, loads: [(2, 16)].into() }]);
        let found = counted("for (var i = 0u; i < 18u; i++) { sum.x += x[i].y; sum += x[i + 1u]; }");
        assert_eq!(found, [Counted { turns: 18, loads: [(2, 20)].into() }]);
    }

    #[test]
    fn a_start_or_a_bound_that_is_not_known_counts_nothing() {
        assert_eq!(counted("for (var i = index; i < PARTIALS; i += GROUP) { sum += x[i]; }"), []);
        assert_eq!(counted("for (var i = index % 16u; i < PARTIALS; i += GROUP) { sum += x[i]; }"), []);
        assert_eq!(counted("for (var i = index % GROUP; i < index; i += GROUP) { sum += x[i]; }"), []);
    }

    #[test]
    fn code_gets_the_turns_of_what_loads_the_same() {
        let one = |turns, loads: &[(u32, u32)]| Loop { turns, loads: loads.iter().copied().collect(), ..Loop::default() };
        let three = Counted { turns: 3, loads: [(2, 16)].into() };
        let mut loops =
            [one(None, &[(2, 16)]), one(None, &[(2, 16)]), one(None, &[(2, 32)]), one(None, &[]), one(Some(1), &[(2, 16)])];
        complete(&mut loops, std::slice::from_ref(&three));
        // The first is the whole program.
        assert_eq!(loops.each_ref().map(|one| one.turns), [None, Some(3), None, None, Some(1)]);
        let mut loops = [one(None, &[]), one(None, &[(2, 16)])];
        complete(&mut loops, &[three.clone(), Counted { turns: 4, ..three }]);
        assert_eq!(loops[1].turns, None);
    }
}
