//! Which devices a group of version 2 may use.
//!
//! Invariant: what no rule allows is refused, also by a device file that a container makes itself. Version 2 has no
//! files for this: the kernel asks a small program (eBPF) that is attached to the group. libcontainer does that only
//! through libbpf (LGPL or not, in C), so it is put together here. Answers to runc's `devicefilter`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;

/// What may be used, or all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `b'c'` or `b'b'`; `None` is both.
    pub kind: Option<u8>,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    /// Of [`READ`], [`WRITE`], [`MAKE`].
    pub access: u32,
}

pub(crate) const MAKE: u32 = 1;
pub(crate) const READ: u32 = 2;
pub(crate) const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;

/// What every container may use: making device files, and the usual devices.
pub(crate) fn usual() -> Vec<Rule> {
    let rule = |kind, major, minor, access| Rule { kind: Some(kind), major, minor, access };
    let mut rules = vec![rule(b'c', None, None, MAKE), rule(b'b', None, None, MAKE)];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(b'c', Some(major), Some(minor), ALL));
    }
    rules.push(rule(b'c', Some(136), None, ALL));
    rules
}

/// An instruction of eBPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper one.
    registers: u8,
    offset: i16,
    value: i32,
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const JUMP_IF_NOT_EQUAL: u8 = 0x56;
const JUMP_IF_NOT_EQUAL_REGISTER: u8 = 0x5e;
const EXIT: u8 = 0x95;

/// Kind, access, major, minor in registers 2 to 5; the answer in 0.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let step = |code, to: u8, from: u8, offset, value| Instruction {
        code,
        registers: from << 4 | to,
        offset,
        value,
    };
    let mut program = vec![
        step(LOAD_WORD, 2, 1, 0, 0),
        step(AND, 2, 0, 0, 0xffff),
        step(LOAD_WORD, 3, 1, 0, 0),
        step(SHIFT_RIGHT, 3, 0, 0, 16),
        step(LOAD_WORD, 4, 1, 4, 0),
        step(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let mut checks = Vec::new();
        if let Some(kind) = rule.kind {
            checks.push((2, if kind == b'b' { 1 } else { 2 }));
        }
        checks.extend(rule.major.map(|major| (4, major as i32)));
        checks.extend(rule.minor.map(|minor| (5, minor as i32)));
        // Nothing may be asked for beyond what the rule grants: 3 instructions. Then the answer: 2.
        let length = checks.len() + if rule.access == ALL { 0 } else { 3 } + 2;
        let start = program.len();
        let out = |at: usize| (start + length - at - 1) as i16;
        for (register, value) in checks {
            program.push(step(JUMP_IF_NOT_EQUAL, register, 0, out(program.len()), value));
        }
        if rule.access != ALL {
            program.push(step(MOVE_REGISTER, 1, 3, 0, 0));
            program.push(step(AND, 1, 0, 0, rule.access as i32));
            program.push(step(JUMP_IF_NOT_EQUAL_REGISTER, 1, 3, out(program.len()), 0));
        }
        program.push(step(MOVE, 0, 0, 0, 1));
        program.push(step(EXIT, 0, 0, 0, 0));
    }
    program.push(step(MOVE, 0, 0, 0, 0));
    program.push(step(EXIT, 0, 0, 0, 0));
    program
}

/// The parts of the kernel's `bpf_attr` that are used: loading a program, attaching it.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Lets the group in this folder use these devices and no others.
pub(crate) fn restrict(folder: &Path, rules: &[Rule]) -> std::io::Result<()> {
    const PROGRAM_LOAD: libc::c_int = 5;
    const PROGRAM_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE_PROGRAM: u32 = 15;
    const CGROUP_DEVICE_ATTACH: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let instructions = program(rules);
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        length: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the kernel copies the structure, whose size it is told, the instructions and the string.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const load, size_of::<Load>()) };
    if loaded < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let program = unsafe { OwnedFd::from_raw_fd(loaded as i32) };
    let group = std::fs::File::open(folder)?;
    let attach = Attach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE_ATTACH,
        flags: ALLOW_MULTI,
    };
    // SAFETY: as above. The program lives as long as the group.
    let attached =
        unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attach, size_of::<Attach>()) };
    if attached == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn ask(program: &[Instruction], kind: u8, major: u32, minor: u32, access: u32) -> bool {
        let context = [(access << 16) | if kind == b'b' { 1 } else { 2 }, major, minor];
        let mut registers = [0u32; 16];
        let mut at = 0;
        loop {
            let Instruction { code, registers: both, offset, value } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            match code {
                LOAD_WORD => registers[to] = context[offset as usize / 4],
                AND => registers[to] &= value as u32,
                SHIFT_RIGHT => registers[to] >>= value,
                MOVE => registers[to] = value as u32,
                MOVE_REGISTER => registers[to] = registers[from],
                JUMP_IF_NOT_EQUAL if registers[to] != value as u32 => at += offset as usize,
                JUMP_IF_NOT_EQUAL_REGISTER if registers[to] != registers[from] => at += offset as usize,
                EXIT => return registers[0] == 1,
                _ => {}
            }
        }
    }

    #[test]
    fn rules() {
        let mut rules = usual();
        rules.push(Rule { kind: Some(b'b'), major: Some(8), minor: Some(1), access: READ });
        let program = program(&rules);
        for (kind, major, minor, access, expect) in [
            (b'c', 1, 3, READ | WRITE, true),
            (b'c', 136, 77, READ | WRITE, true),
            (b'c', 1, 1, READ, false),
            (b'c', 1, 1, MAKE, true),
            (b'b', 8, 0, MAKE, true),
            (b'b', 8, 0, READ, false),
            (b'b', 8, 1, READ, true),
            (b'b', 8, 1, READ | WRITE, false),
            (b'b', 8, 1, MAKE | READ, false),
        ] {
            assert_eq!(
                ask(&program, kind, major, minor, access),
                expect,
                "{} {major}:{minor} {access}",
                kind as char
            );
        }
    }

    #[test]
    fn the_kernel_takes_it() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let unified =
            mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let Some(unified) = unified else { return };
        let folder = Path::new(unified).join(format!("gifee-oci-devices-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a group");
        let restricted = restrict(&folder, &usual());
        let script = format!("echo $$ > {}/cgroup.procs; cat /dev/null && ! cat /dev/kmsg", folder.display());
        let status =
            std::process::Command::new("timeout").args(["5", "sh", "-c", &script]).status().expect("a shell");
        std::fs::remove_dir(&folder).expect("empty");
        match restricted {
            Ok(()) => assert!(status.success(), "{status}"),
            // A kernel without this kind of program.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}"),
        }
    }
}
