//! Decides on the pods of a group together: as many as must start get their places, or none does.
//!
//! Invariant: of a group too few of which have places, none is left assumed on a node.

use crate::placement::{Diagnosis, Placement};
use crate::plugins;
use crate::queue::Pending;
use crate::scheduler::{Scheduler, Step};
use gifee_base::ObjectKey;
use tokio::time::Instant;

impl Scheduler {
    /// Whether a pod is one of several that must start together, and of which group.
    pub(crate) fn gang_of(&self, pending: &Pending) -> Option<(ObjectKey, usize)> {
        let group = pending.pod.template.group_key()?;
        let least = self.cluster.groups.least(&group).filter(|least| *least > 1)?;
        let enough = self.cluster.groups.members(&group).count() >= least;
        enough.then_some((group, least))
    }

    /// Decides on all of a group that wait; the first effect to carry out.
    pub(crate) fn decide_together(
        &mut self,
        first: Box<Pending>,
        (group, least): (ObjectKey, usize),
        now: Instant,
    ) -> Option<Step> {
        let keys: Vec<ObjectKey> = self.cluster.groups.members(&group).cloned().collect();
        let before = keys.iter().filter(|key| self.cluster.placed(key).is_some()).count();
        let mut waiting = vec![first];
        waiting.extend(keys.iter().filter_map(|key| self.queue.take_ungated(key)));
        let (mut binds, mut refused) = (Vec::new(), Vec::new());
        for pending in waiting {
            let Some(profile) = self.profile(&pending.pod.scheduler) else { continue };
            match self.decide(&profile, &pending.pod) {
                Placement::Node(index) => binds.push(self.place(pending, index, now)),
                Placement::None(diagnosis) => refused.push((pending, diagnosis)),
            }
        }
        if before + binds.len() >= least {
            self.steps.extend(binds);
            for (pending, diagnosis) in refused {
                let rejected = diagnosis.rejected;
                let step = self.refuse(pending, &diagnosis, None, rejected, now);
                self.steps.push_back(step);
            }
            return self.steps.pop_front();
        }
        let rejected = refused.iter().fold(plugins::Set::default(), |all, (_, one)| all.with(one.rejected));
        let why = format!(
            "only {} of at least {least} pods of pod group {:?} have a place at the same time",
            before + binds.len(),
            group.name
        );
        for step in binds {
            let Step::Bind(binding) = step else { continue };
            if let Some(pending) = self.take_back(&binding.pod) {
                let nodes = self.cluster.known().len();
                let refusal = Some(why.clone().into());
                let diagnosis = Diagnosis { nodes, refused: refusal, rejected, ..Diagnosis::default() };
                refused.push((pending, Box::new(diagnosis)));
            }
        }
        for (pending, diagnosis) in refused {
            let step = self.refuse(pending, &diagnosis, None, rejected, now);
            self.steps.push_back(step);
        }
        self.steps.pop_front()
    }
}
