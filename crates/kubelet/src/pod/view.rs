//! What was observed of one pod: the input of the planner and of the status.
//!
//! Invariant: plain data, made anew for each plan; what it says about the runtime came from the runtime, so that an
//! agent that restarts sees the same. Answers to `kubecontainer.PodStatus`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gifee_oci::spec::Resources;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, ResourceRequirements};

use super::members::{Member, Role};
use super::plan::Why;
use super::resize::Allotment;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it ran in.
    pub sandbox: String,
    /// How often the container was restarted before it.
    pub number: i32,
    /// Its [`Member::hash`].
    pub hash: u64,
    /// The image as the pod names it.
    pub image: String,
    /// The image's content.
    pub image_id: String,
    /// How far it is.
    pub state: AttemptState,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended.
    Exited {
        /// When it was started; `None` if it could not be.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Timestamp,
        /// Exit code.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
        /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
        reason: String,
        /// The termination message, or why it is not an ordinary end.
        message: String,
    },
}

impl Attempt {
    /// Whether it runs.
    pub fn running(&self) -> bool {
        matches!(self.state, AttemptState::Running { .. })
    }

    /// Its exit code, if it ended.
    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            AttemptState::Exited { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// What is being done with a container at this moment, outside of the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Image, creation, start, `postStart`.
    Starting {
        /// Whether it was told to give up.
        cancelled: bool,
    },
    /// `preStop`, signal, grace period.
    Stopping {
        /// When it is killed.
        deadline: Timestamp,
    },
    /// A dead run is being removed.
    Removing,
}

/// Why the last try to start a container led to no running one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `ErrImagePull`, `CreateContainerConfigError` and so on.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Not tried again before.
    pub retry_at: Timestamp,
}

/// What is known of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerView {
    /// Its runs that the runtime still knows, newest first.
    pub attempts: Vec<Attempt>,
    /// What is being done with it.
    pub work: Option<Work>,
    /// Why it could not be started.
    pub failure: Option<Failure>,
    /// Delay after its end before it is started again.
    pub back_off: Duration,
    /// Startup probe passed, or there is none.
    pub started: bool,
    /// Readiness probe passes, or there is none.
    pub ready: bool,
    /// Why probes want it stopped, with their own grace period in seconds.
    pub unhealthy: Option<(Why, Option<i64>)>,
    /// It was stopped to be started again, whatever its exit code.
    pub owed: bool,
    /// What it runs with, if that is not what it was given since.
    pub stale: Option<ResourceRequirements>,
}

impl ContainerView {
    /// Its newest run.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.first()
    }

    /// Its newest run that runs, unless it is still being started.
    pub fn running(&self) -> Option<&Attempt> {
        self.latest().filter(|attempt| attempt.running())
    }

    /// Whether it is being started.
    pub fn starting(&self) -> bool {
        matches!(self.work, Some(Work::Starting { .. }))
    }
}

/// The sandbox of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Whether containers can run in it.
    pub ready: bool,
    /// The pod's addresses, the first is the primary one.
    pub addresses: Vec<IpAddr>,
}

/// How far the steps of [`crate::hooks::HOOKS`] are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    /// Not done by this agent process.
    #[default]
    Needed,
    /// Being done, or undone.
    Running,
    /// Done.
    Done,
    /// Failed; not tried again before this time.
    Failed(Timestamp),
    /// Undone: the pod has ended.
    Undone,
    /// Undone, and the server has agreed to delete the object.
    Deleted,
}

/// How far a change of resources is.
#[derive(Clone, Debug, Default)]
pub struct Resizing {
    /// What the pod was given.
    pub allotment: Arc<Allotment>,
    /// The generation whose change is not yet in force everywhere.
    pub generation: Option<i64>,
    /// It is being brought into force.
    pub under_way: bool,
    /// Why that failed, and when it is tried again.
    pub failure: Option<(String, Timestamp)>,
    /// The limits of the pod's control group; none before it was made.
    pub footing: Option<Resources>,
}

/// Why all of a pod has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When what still runs is killed.
    pub deadline: Timestamp,
    /// `status.reason` and `status.message`, and so phase `Failed`.
    pub failed: Option<(String, String)>,
}

/// Everything known of a pod at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// As the API last said.
    pub pod: Arc<Pod>,
    /// Its containers.
    pub members: Arc<Vec<Member>>,
    /// The moment.
    pub now: Timestamp,
    /// Set if it has to end.
    pub ending: Option<Ending>,
    /// The object is gone from the API.
    pub removed: bool,
    /// Its sandbox.
    pub sandbox: Option<Sandbox>,
    /// How far the steps are.
    pub setup: Setup,
    /// Every member has an entry.
    pub containers: BTreeMap<String, ContainerView>,
    /// Addresses of the node.
    pub host_addresses: Vec<IpAddr>,
    /// When this node first saw it.
    pub start_time: Timestamp,
    /// How far a change of its resources is.
    pub resizing: Resizing,
}

impl View {
    /// What is known of a member.
    pub fn container(&self, name: &str) -> &ContainerView {
        static NOTHING: std::sync::OnceLock<ContainerView> = std::sync::OnceLock::new();
        self.containers.get(name).unwrap_or_else(|| NOTHING.get_or_init(ContainerView::default))
    }

    /// The id of the sandbox that containers can run in.
    pub fn live_sandbox(&self) -> Option<&str> {
        self.sandbox.as_ref().filter(|sandbox| sandbox.ready).map(|sandbox| sandbox.id.as_str())
    }

    /// The newest run of a member, if it ran in the present sandbox.
    pub fn current(&self, name: &str) -> Option<&Attempt> {
        let sandbox = self.live_sandbox()?;
        self.container(name).latest().filter(|attempt| attempt.sandbox == sandbox)
    }

    /// Whether a main container was started in the present sandbox: then initialization is over.
    pub fn main_started(&self) -> bool {
        self.members.iter().any(|member| {
            member.role == Role::Main
                && self.current(member.name()).is_some_and(|attempt| attempt.state != AttemptState::Created)
        })
    }

    /// Whether anything runs, or is being started or stopped.
    pub fn busy(&self) -> bool {
        self.containers.values().any(|view| view.running().is_some() || view.work.is_some())
    }

    /// What the API's status says of a container.
    pub fn reported(&self, name: &str) -> Option<&ContainerStatus> {
        let status = self.pod.status.as_ref()?;
        let lists = [
            &status.init_container_statuses,
            &status.container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|one| one.name == name)
    }

    /// Whether the API's status already has a final phase.
    pub fn reported_terminal(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }
}
