//! Who a container's program runs as.
//!
//! Invariant: names are looked up in the container's own `/etc/passwd` and `/etc/group`, never in the host's.
//! Answers to containerd's `WithUser`, `WithUserID` and `WithAdditionalGIDs`.

use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rooted;
use crate::spec::User;

/// No image has larger tables of users; a hostile one may not fill memory.
const TABLE_BYTES: u64 = 1 << 20;

/// Numbers of a user, and where it is at home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// All groups, the primary one among them.
    pub groups: Vec<u32>,
    pub home: String,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Looks `user` up in the tables below `root`; `image` is what the image says.
pub(crate) fn resolve(root: impl AsFd, user: &User, image: Option<&str>) -> Result<Identity> {
    let table = |path: &str| {
        rooted::read(&root, path, TABLE_BYTES).map(Option::unwrap_or_default).map_err(Error::io("read", path))
    };
    resolve_in(&table("etc/passwd")?, &table("etc/group")?, user, image)
}

fn resolve_in(passwd: &str, group: &str, user: &User, image: Option<&str>) -> Result<Identity> {
    let (accounts, groups) = (accounts(passwd), groups(group));
    let named = user.name.as_deref().or(image.filter(|_| user.uid.is_none())).unwrap_or("");
    let (user_word, group_word) = match named.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (named, None),
    };
    let uid_word = match user.uid {
        Some(uid) => uid.to_string(),
        None if user_word.is_empty() => "0".to_owned(),
        None => user_word.to_owned(),
    };
    let account = match uid_word.parse::<u32>() {
        Ok(uid) => accounts.iter().find(|account| account.uid == uid),
        Err(_) => Some(accounts.iter().find(|account| account.name == uid_word).ok_or_else(|| {
            Error::Invalid(format!("unable to find user {uid_word}: no matching entries in passwd file"))
        })?),
    };
    let uid = account.map_or_else(|| uid_word.parse().unwrap_or(0), |account| account.uid);
    let gid = match (user.gid, group_word) {
        (Some(gid), _) => gid,
        (None, Some(word)) => match word.parse() {
            Ok(gid) => gid,
            Err(_) => {
                groups.iter().find(|group| group.name == word).map(|group| group.gid).ok_or_else(|| {
                    Error::Invalid(format!("unable to find group {word}: no matching entries in group file"))
                })?
            }
        },
        (None, None) => account.map_or(0, |account| account.gid),
    };
    let mut all = vec![gid];
    if let Some(account) = account.filter(|_| !user.strict_groups && group_word.is_none()) {
        let member = |group: &&Group| group.members.contains(&account.name);
        all.extend(groups.iter().filter(member).map(|group| group.gid));
    }
    all.extend(&user.supplemental_groups);
    let mut seen = std::collections::HashSet::new();
    all.retain(|gid| seen.insert(*gid));
    let home = account.map(|account| account.home.clone()).filter(|home| !home.is_empty());
    Ok(Identity { uid, gid, groups: all, home: home.unwrap_or_else(|| "/".to_owned()) })
}

fn accounts(table: &str) -> Vec<Account> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        Some(Account {
            name: (*fields.first()?).to_owned(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).copied().unwrap_or("").to_owned(),
        })
    };
    table.lines().filter_map(parse).collect()
}

fn groups(table: &str) -> Vec<Group> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        Some(Group {
            name: (*fields.first()?).to_owned(),
            gid: fields.get(2)?.parse().ok()?,
            members: fields.get(3).copied().unwrap_or("").split(',').map(str::to_owned).collect(),
        })
    };
    table.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/false\nbroken\n";
        let group = "root:x:0:\nbin:x:1:root,web\nwww:x:44:\nextra:x:50:web\n";
        let check = |user: User, image: Option<&str>, expect: Result<(u32, u32, &[u32], &str), &str>| {
            let found = resolve_in(passwd, group, &user, image).map_err(|error| error.to_string());
            let found = found.as_ref().map(|id| (id.uid, id.gid, id.groups.as_slice(), id.home.as_str()));
            assert_eq!(found.map_err(String::as_str), expect, "{user:?} {image:?}");
        };
        let none = User::default;
        check(none(), None, Ok((0, 0, &[0, 1], "/root")));
        check(none(), Some("web"), Ok((33, 44, &[44, 1, 50], "/srv")));
        check(none(), Some("33"), Ok((33, 44, &[44, 1, 50], "/srv")));
        check(none(), Some("web:bin"), Ok((33, 1, &[1], "/srv")));
        check(none(), Some("1000"), Ok((1000, 0, &[0], "/")));
        check(none(), Some("1000:7"), Ok((1000, 7, &[7], "/")));
        check(User { uid: Some(33), ..none() }, Some("root"), Ok((33, 44, &[44, 1, 50], "/srv")));
        check(
            User { uid: Some(7), gid: Some(8), supplemental_groups: vec![9, 8, 9], ..none() },
            None,
            Ok((7, 8, &[8, 9], "/")),
        );
        check(User { strict_groups: true, ..none() }, Some("web"), Ok((33, 44, &[44], "/srv")));
        check(none(), Some("nobody"), Err("unable to find user nobody: no matching entries in passwd file"));
        check(none(), Some("web:nope"), Err("unable to find group nope: no matching entries in group file"));
    }
}
