//! ConfigMaps and Secrets that pods of this node name.
//!
//! Placeholder until below.
/// x
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// k
    pub kind: u8,
    /// n
    pub name: String,
}
impl Reference {
    /// m
    pub fn config_map(name: &str) -> Self {
        Reference { kind: 0, name: name.into() }
    }
    /// s
    pub fn secret(name: &str) -> Self {
        Reference { kind: 1, name: name.into() }
    }
}
