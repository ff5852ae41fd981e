//! The containers of a pod, of all kinds, in the order in which they are started.
//!
//! Invariant: the order is init containers and sidecars as listed, then the main ones, then the ephemeral ones; names
//! are unique among them. Answers to `podutil.VisitContainers` and `kubecontainer.ShouldContainerBeRestarted`.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, EphemeralContainer, Pod, PodSpec};

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with restart policy `Always`: runs beside the main ones.
    Sidecar,
    /// What the pod is for.
    Main,
    /// Added to a running pod to look into it; never restarted.
    Ephemeral,
}

/// Whether an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Whatever its exit code.
    Always,
    /// Unless it is 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl Restart {
    /// From the API's word; the default is `Always`.
    pub fn parse(word: Option<&str>) -> Restart {
        match word {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        }
    }

    /// Whether a container that ended with this code is started again.
    pub fn after(self, exit_code: i32) -> bool {
        match self {
            Restart::Always => true,
            Restart::OnFailure => exit_code != 0,
            Restart::Never => false,
        }
    }
}

/// One container.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is for.
    pub role: Role,
    /// When it is started again.
    pub restart: Restart,
    /// Its spec.
    pub container: Container,
    /// The container whose process namespace an ephemeral one shares.
    pub target: Option<String>,
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.container.name
    }

    /// Whether it is started again after it has ended with this code: its rules come before its policy.
    pub fn restarts_after(&self, exit_code: i32) -> bool {
        let mut rules = self.container.restart_policy_rules.iter().flatten();
        let matches = |rule: &&ContainerRestartRule| {
            rule.exit_codes.as_ref().is_some_and(|codes| {
                let named = codes.values.iter().flatten().any(|code| *code == exit_code);
                if codes.operator == "NotIn" { !named } else { named }
            })
        };
        match rules.find(matches) {
            Some(rule) if rule.action.starts_with("Restart") => true,
            _ => self.restart.after(exit_code),
        }
    }

    /// A number that changes with what cannot be changed while it runs. Only the image can be changed in the API.
    pub fn hash(&self) -> u64 {
        // FNV-1a: the number stands in the runtime's records and must mean the same to every later build.
        let image = self.container.image.as_deref().unwrap_or_default();
        let bytes = self.name().bytes().chain([0]).chain(image.bytes());
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// `spec.containers{name}` and its like: how events name it.
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name())
    }
}

/// All containers of a pod in starting order.
pub fn members(pod: &Pod) -> Vec<Member> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let policy = Restart::parse(spec.restart_policy.as_deref());
    let init = spec.init_containers.iter().flatten().map(|container| init_member(container, policy));
    let main = spec.containers.iter().map(|container| Member {
        role: Role::Main,
        restart: container.restart_policy.as_deref().map_or(policy, |word| Restart::parse(Some(word))),
        container: container.clone(),
        target: None,
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(ephemeral_member);
    init.chain(main).chain(ephemeral).collect()
}

fn init_member(container: &Container, policy: Restart) -> Member {
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    let restart = match policy {
        _ if container.restart_policy.is_some() => Restart::parse(container.restart_policy.as_deref()),
        Restart::Never => Restart::Never,
        Restart::Always | Restart::OnFailure => Restart::OnFailure,
    };
    let role = if sidecar { Role::Sidecar } else { Role::Init };
    Member { role, restart, container: container.clone(), target: None }
}

fn ephemeral_member(one: &EphemeralContainer) -> Member {
    let container = Container {
        args: one.args.clone(),
        command: one.command.clone(),
        env: one.env.clone(),
        env_from: one.env_from.clone(),
        image: one.image.clone(),
        image_pull_policy: one.image_pull_policy.clone(),
        name: one.name.clone(),
        resources: one.resources.clone(),
        security_context: one.security_context.clone(),
        stdin: one.stdin,
        stdin_once: one.stdin_once,
        termination_message_path: one.termination_message_path.clone(),
        termination_message_policy: one.termination_message_policy.clone(),
        tty: one.tty,
        volume_mounts: one.volume_mounts.clone(),
        working_dir: one.working_dir.clone(),
        ..Container::default()
    };
    let target = one.target_container_name.clone().filter(|name| !name.is_empty());
    Member { role: Role::Ephemeral, restart: Restart::Never, container, target }
}

/// The spec; an object without one (which no server accepts) has an empty one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
    pod.spec.as_ref().unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
}

/// Whether it uses the host's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// `metadata.namespace`, empty if missing.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// `metadata.name`, empty if missing.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// `metadata.uid`, empty if missing.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`, as upstream's messages name a pod.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}
