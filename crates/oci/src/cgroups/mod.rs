//! Control groups of version 1 and 2 by path.
//!
//! Invariant: a path means the same group in every hierarchy. Answers to the kubelet's cgroup manager and to what
//! runc's and containerd's cgroup libraries offer around a container.

