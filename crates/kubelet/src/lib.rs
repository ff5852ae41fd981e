//! The node agent: runs the pods that the API assigns to this machine, and reports what it sees.
//!
//! Invariant: every decision about a pod is a pure function of what was observed ([`pod`]); effects are in
//! [`hooks`], [`volumes`] and the workers. Containers outlive the agent, and a restarted agent finds them.
//! Answers to the kubelet.

pub mod environment;
pub mod hooks;
pub mod paths;
pub mod pod;
pub mod references;
pub mod volumes;
