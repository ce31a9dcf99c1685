//! The stack that the kernel programs take, as the verifier of any kernel counts it: a chain of calls has 512
//! bytes in all, and older kernels (seen in 5.15 and 6.1) round each function's part of them up to 32. A newer one
//! (6.18) takes programs that these refuse, and would not tell.

use std::collections::BTreeMap;

use aya_obj::generated::bpf_insn;
use aya_obj::obj::{Object, Program};

use super::object::OBJECT;

const MOST: u32 = 512;
const ROUNDED_TO: u32 = 32;
/// The register with the address of a function's part.
const FRAME: u8 = 10;

/// A function of a program.
#[derive(Debug, Default)]
struct Function {
    stack: u32,
    /// Where the functions it calls begin.
    calls: Vec<usize>,
}

impl Function {
    fn of(instructions: &[(usize, bpf_insn)]) -> Self {
        const CALL: u8 = 0x85;
        const COPY: u8 = 0xbf;
        const ADD: u8 = 0x07;
        let mut function = Self::default();
        let mut points_to_frame = None;
        for &(at, instruction) in instructions {
            let lowest = match instruction.code & 7 {
                // Loads, and stores of constants and registers.
                1 if instruction.src_reg() == FRAME => instruction.off.into(),
                2 | 3 if instruction.dst_reg() == FRAME => instruction.off.into(),
                _ if instruction.code == ADD && points_to_frame == Some(instruction.dst_reg()) => {
                    instruction.imm
                }
                _ => 0,
            };
            function.stack = function.stack.max(lowest.min(0).unsigned_abs());
            let is_copy = instruction.code == COPY && instruction.src_reg() == FRAME;
            points_to_frame = is_copy.then(|| instruction.dst_reg());
            if instruction.code == CALL && instruction.src_reg() == 1 {
                let target = at.checked_add_signed(instruction.imm as isize + 1);
                function
                    .calls
                    .push(target.expect("a call into the program"));
            }
        }
        function
    }
}

/// The functions of a program, by where they begin.
fn functions(instructions: &[bpf_insn]) -> BTreeMap<usize, Function> {
    let numbered: Vec<(usize, bpf_insn)> = instructions.iter().copied().enumerate().collect();
    let mut begins = Function::of(&numbered).calls;
    begins.extend([0, numbered.len()]);
    begins.sort_unstable();
    begins.dedup();
    let parts = begins
        .windows(2)
        .map(|ends| (ends[0], Function::of(&numbered[ends[0]..ends[1]])));
    parts.collect()
}

/// The longest way down from a function, and the parts it is made of.
fn deepest(functions: &BTreeMap<usize, Function>, from: usize) -> (u32, Vec<u32>) {
    let Function { stack, calls } = &functions[&from];
    let below = calls.iter().map(|&to| deepest(functions, to));
    let (below, mut parts) = below.max().unwrap_or_default();
    parts.insert(0, *stack);
    ((*stack).max(1).next_multiple_of(ROUNDED_TO) + below, parts)
}

#[test]
fn no_chain_of_calls_takes_more_than_every_kernel_grants() {
    let mut object = Object::parse(OBJECT).expect("an object");
    let texts = object
        .functions
        .keys()
        .map(|&(section, _)| section)
        .collect();
    object.relocate_calls(&texts).expect("it can be linked");
    for (name, program) in &object.programs {
        let Program {
            section_index,
            address,
            ..
        } = program;
        let linked = &object.functions[&(*section_index, *address)];
        let (stack, parts) = deepest(&functions(&linked.instructions), 0);
        println!("{name}: {stack} of {MOST}: {parts:?}");
        assert!(stack <= MOST, "{name}: {stack} bytes of {MOST}: {parts:?}");
    }
}
