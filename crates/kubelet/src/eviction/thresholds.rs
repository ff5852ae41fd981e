//! What is to be left on a node before pods have to go.
//!
//! Answers to upstream's hard eviction thresholds. Images, containers and volumes share a disk here, so the highest of
//! the thresholds of `nodefs`, `imagefs` and `containerfs` counts.

use gifee_base::Quantity;

/// An amount, or a share of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Bytes, or a number.
    Units(i64),
    /// Percent.
    Percent(f64),
}

impl Amount {
    /// Reads `100Mi` and `10%`; `None` if it is neither, or below zero, or more than all.
    pub fn read(text: &str) -> Option<Self> {
        if let Some(share) = text.strip_suffix('%') {
            let share: f64 = share.parse().ok()?;
            return (0.0..=100.0).contains(&share).then_some(Self::Percent(share));
        }
        let amount = text.parse::<Quantity>().ok()?.value();
        (amount >= 0).then_some(Self::Units(amount))
    }

    /// How much that is of so much.
    pub fn of(self, all: i64) -> i64 {
        match self {
            Self::Units(units) => units,
            // Whole numbers up to 2^53 are exact; what is beyond is no disk.
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            Self::Percent(share) => (all as f64 * share / 100.0) as i64,
        }
    }
}

/// Thresholds of what must be available.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Bytes of memory.
    pub memory: Amount,
    /// Bytes of the disk: of the node, of images, of containers.
    disk: [Amount; 3],
    /// Its free files: the same.
    inodes: [Amount; 3],
    /// Numbers of processes.
    pub processes: Amount,
}

const OFF: Amount = Amount::Units(0);

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            memory: Amount::Units(100 << 20),
            disk: [Amount::Percent(10.0), OFF, OFF],
            inodes: [Amount::Percent(5.0), OFF, OFF],
            processes: Amount::Percent(10.0),
        }
    }
}

impl Thresholds {
    /// No thresholds.
    pub fn none() -> Self {
        Self { memory: OFF, disk: [OFF; 3], inodes: [OFF; 3], processes: OFF }
    }

    /// That of one of upstream's signals.
    pub fn of(&mut self, signal: &str) -> Option<&mut Amount> {
        Some(match signal {
            "memory.available" => &mut self.memory,
            "nodefs.available" => &mut self.disk[0],
            "imagefs.available" => &mut self.disk[1],
            "containerfs.available" => &mut self.disk[2],
            "nodefs.inodesFree" => &mut self.inodes[0],
            "imagefs.inodesFree" => &mut self.inodes[1],
            "containerfs.inodesFree" => &mut self.inodes[2],
            "pid.available" => &mut self.processes,
            _ => return None,
        })
    }

    /// Bytes that are to be left of a disk of so many.
    pub fn disk(&self, all: i64) -> i64 {
        self.disk.iter().map(|amount| amount.of(all)).max().unwrap_or_default()
    }

    /// Files that are to be left of so many.
    pub fn inodes(&self, all: i64) -> i64 {
        self.inodes.iter().map(|amount| amount.of(all)).max().unwrap_or_default()
    }
}
