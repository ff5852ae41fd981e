//! Which members are taken next.
//!
//! Invariant: of what is available no more is taken than there is room for, in the order given; what is not
//! available is taken before, since that costs nothing, and so a broken version cannot block its successor.

/// Members that are alike to a rollout: the replicas of one set, or a single pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many there are.
    pub size: i32,
    /// How many of them are available.
    pub available: i32,
}

impl Group {
    /// A single member.
    pub fn one(available: bool) -> Self {
        Self { size: 1, available: i32::from(available) }
    }
}

/// How many members may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of all members.
    pub total: i32,
    /// Of those that are available.
    pub available: i32,
}

/// How many members of each group to take. Groups come in the order in which they are to go.
pub fn pick(groups: &[Group], room: Room) -> Vec<i32> {
    let mut left = room.total.max(0);
    let mut taken: Vec<i32> = groups
        .iter()
        .map(|group| {
            let broken = (group.size - group.available).clamp(0, left);
            left -= broken;
            broken
        })
        .collect();
    let mut left = left.min(room.available.max(0));
    for (group, taken) in groups.iter().zip(&mut taken) {
        let more = (group.size - *taken).clamp(0, left);
        *taken += more;
        left -= more;
    }
    taken
}

/// How large a new group of `present` members becomes, when all groups together have `total` members and
/// `maximum` are allowed.
pub fn grow(wanted: i32, maximum: i32, total: i32, present: i32) -> i32 {
    let room = maximum.saturating_sub(total).max(0);
    present + room.min(wanted - present).max(0)
}
