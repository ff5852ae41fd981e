//! Profiles compiled and asked, by running the program on numbers as the kernel would.

use super::*;

/// Runs the classic BPF subset that filters use.
fn run(program: &[sock_filter], number: i64, arguments: [u64; 6]) -> u32 {
    const AUDIT_X86_64: u32 = 0xc000_003e;
    const AUDIT_AARCH64: u32 = 0xc000_00b7;
    let arch = if cfg!(target_arch = "x86_64") { AUDIT_X86_64 } else { AUDIT_AARCH64 };
    let load = |offset: u32| match offset {
        0 => number as u32,
        4 => arch,
        16.. => {
            (arguments[(offset as usize - 16) / 8] >> (if offset.is_multiple_of(8) { 0 } else { 32 })) as u32
        }
        _ => 0,
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &program[at];
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        at += 1 + match step.code {
            0x20 => {
                value = load(step.k);
                0
            }
            0x54 => {
                value &= step.k;
                0
            }
            0x05 => step.k as usize,
            0x15 => jump(value == step.k),
            0x25 => jump(value > step.k),
            0x35 => jump(value >= step.k),
            0x06 => return step.k,
            other => panic!("unknown instruction {other:#x}"),
        };
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn ask(capabilities: &[&str], name: &str, first: u64) -> u32 {
    let held = Capabilities::none().with(capabilities).expect("known capabilities");
    let program = program(&Seccomp::RuntimeDefault, held).expect("compiles").expect("a program");
    run(&program, number(name).expect("a known name"), [first, 0, 0, 0, 0, 0])
}

#[test]
fn tables_are_sorted() {
    assert!(numbers::SYSCALLS.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn the_default_profile() {
    for (capabilities, name, first, expect) in [
        (&[][..], "read", 0, ALLOW),
        (&[], "execve", 0, ALLOW),
        (&[], "mount", 0, EPERM),
        (&["SYS_ADMIN"], "mount", 0, ALLOW),
        (&[], "clone3", 0, ENOSYS),
        (&["SYS_ADMIN"], "clone3", 0, ALLOW),
        (&[], "clone", 0x11, ALLOW),
        (&[], "clone", 0x1000_0000, EPERM),
        (&["SYS_ADMIN"], "clone", 0x1000_0000, ALLOW),
        (&[], "socket", 2, ALLOW),
        (&[], "socket", 40, EPERM),
        (&[], "socket", 38, EPERM),
        (&[], "personality", 0x2_0008, ALLOW),
        (&[], "personality", 0x4_0000, EPERM),
        (&[], "reboot", 0, EPERM),
        (&["SYS_BOOT"], "reboot", 0, ALLOW),
        (&[], "keyctl", 0, EPERM),
        (&[], "unshare", 0, EPERM),
    ] {
        assert_eq!(ask(capabilities, name, first), expect, "{name}({first:#x}) with {capabilities:?}");
    }
}

#[test]
fn profiles_from_files() {
    let json = br#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
        {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    let program = compile(&Profile::parse(json).expect("parses"), Capabilities::none()).expect("compiles");
    for (name, expect) in [("mkdirat", ALLOW), ("mkdir", EPERM), ("chmod", ENOSYS)] {
        if let Some(number) = number(name) {
            assert_eq!(run(&program, number, [0; 6]), expect, "{name}");
        }
    }
    for broken in
        ["", "{}", r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#]
    {
        let compiled = Profile::parse(broken.as_bytes()).and_then(|it| compile(&it, Capabilities::none()));
        assert!(compiled.is_err(), "{broken}");
    }
}
