//! Which tokens end.

use super::*;
use gifee_policy::authenticate::legacy::LAST_USED;

#[test]
fn a_token_goes_a_year_after_it_was_ended() {
    let check = |labels: Value, created: &str, listed: bool, mounted: bool, since: &str, expect: Plan| {
        let secret = json!({ "metadata": { "name": "t", "labels": labels, "creationTimestamp": created,
            "annotations": { "kubernetes.io/service-account.uid": "u" } } });
        let secrets = if listed { json!([{ "name": "t" }]) } else { json!([]) };
        let account = json!({ "metadata": { "uid": "u" }, "secrets": secrets });
        let view = View { secret: &secret, account, mounted, tracked_since: since };
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(plan(&view, now), expect, "{labels} {created} {since}");
    };
    let (old, tracked) = ("2020-01-01T00:00:00Z", "2020-01-01");
    check(json!({}), old, true, false, tracked, Plan::Mark);
    check(json!({}), old, true, false, "2026-01-01", Plan::Keep);
    check(json!({}), old, false, false, tracked, Plan::Keep);
    check(json!({}), old, true, true, tracked, Plan::Keep);
    check(json!({}), "2026-01-01T00:00:00Z", true, false, tracked, Plan::Keep);
    check(json!({ LAST_USED: "2026-01-01" }), old, true, false, tracked, Plan::Keep);
    check(json!({ LAST_USED: "2024-01-01" }), old, true, false, tracked, Plan::Mark);
    check(json!({ INVALID_SINCE: "2026-01-01" }), old, true, false, tracked, Plan::Keep);
    check(json!({ INVALID_SINCE: "2025-01-01" }), old, true, false, tracked, Plan::Delete);
    check(json!({ INVALID_SINCE: "someday" }), old, true, false, tracked, Plan::Keep);
}
