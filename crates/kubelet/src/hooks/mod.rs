//! x
/// x
pub const HOOKS: u8 = 0;
