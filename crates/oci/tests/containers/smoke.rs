//! The whole life of a container.

use std::time::{Duration, Instant};

use gifee_oci::Runtime;
use gifee_oci::spec::Stop;
use gifee_oci::status::ContainerState;

use crate::machine::{Machine, shell};

/// Created, started, stopped, removed.
pub async fn lifecycle() {
    let machine = Machine::new().await;
    let begun = Instant::now();
    let sandbox = machine.sandbox().await;
    println!("sandbox {:?}", begun.elapsed());
    for _ in 0..5 {
        let begun = Instant::now();
        let id = machine.runtime.create_container(&sandbox, shell("echo hello; exec sleep 100")).await.expect("create");
        println!("create {:?}", begun.elapsed());
        let begun = Instant::now();
        machine.runtime.start_container(&id).await.expect("start");
        println!("start {:?}", begun.elapsed());
        let status = machine.runtime.container(&id).await.expect("status");
        assert_eq!(status.state, ContainerState::Running);
        let begun = Instant::now();
        let result = machine.runtime.exec_sync(&id, &["cat".into(), "/etc/hostname".into()], None).await.expect("exec");
        println!("exec {:?}", begun.elapsed());
        assert_eq!((result.stdout.as_slice(), result.exit_code), (b"box\n".as_slice(), 0));
        let stop = Stop { signal: None, grace: Duration::from_secs(1) };
        let begun = Instant::now();
        machine.runtime.stop_container(&id, stop).await.expect("stop");
        println!("stop {:?}", begun.elapsed());
        machine.runtime.remove_container(&id).await.expect("remove");
    }
    let (exit, text) = machine.run(&sandbox, shell("id; mount; ls -l /dev /sys/fs/cgroup; cat /proc/self/status; exit 3")).await;
    println!("{text}");
    assert_eq!(exit.code, 3);
    machine.clean().await;
}
