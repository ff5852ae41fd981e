//! Settings under `/proc/sys`. They are those of the calling thread's network namespace.

use std::fs;
use std::path::PathBuf;

use crate::Error;

fn set(name: &str, value: &'static str) -> Result<(), Error> {
    let path = PathBuf::from("/proc/sys").join(name);
    let failed = |source| Error::Sysctl { name: name.replace('/', "."), value, source };
    // Reading first keeps a read-only /proc/sys usable where an administrator has set it already.
    let there =
        fs::read_to_string(&path).is_ok_and(|there| there.split_whitespace().eq(value.split_whitespace()));
    if there { Ok(()) } else { fs::write(&path, value).map_err(failed) }
}

/// Makes the host forward packets. It stays so after [`crate::teardown`]: others may rely on it by then.
pub fn prepare_host() -> Result<(), Error> {
    set("net/ipv4/ip_forward", "1")
}

/// Settings of the host's end of a pod's link.
pub fn prepare_link(interface: &str) -> Result<(), Error> {
    // Replies to a connection that the host made to its own 127.0.0.1:nodePort come in here. The rules
    // drop everything else that is addressed so.
    set(&format!("net/ipv4/conf/{interface}/route_localnet"), "1")?;
    set(&format!("net/ipv4/conf/{interface}/send_redirects"), "0")
}

/// Settings of a pod's namespace, as other runtimes give it.
pub fn prepare_pod() -> Result<(), Error> {
    set("net/ipv4/ip_unprivileged_port_start", "0")?;
    set("net/ipv4/ping_group_range", "0 2147483647")
}
