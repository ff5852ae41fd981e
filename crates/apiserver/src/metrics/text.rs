//! The two forms in which metrics are read: OpenMetrics if asked for, else the older text that upstream's server gives.

use http::HeaderMap;
use http::header::ACCEPT;

/// What OpenMetrics is called.
pub const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What the older form is called.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters that upstream does not call totals, besides those that it calls counts.
const BARE: [&str; 2] = ["authenticated_user_requests", "authentication_attempts"];

/// Whether a client takes OpenMetrics.
pub fn wants_open(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"))
}

/// The older form of a text: counters are described by the name that their lines have.
pub fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let (mut help, mut count) = (None, None);
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let shown = match kind {
                "counter" if name.ends_with("_count") || BARE.contains(&name) => name.to_owned(),
                "counter" => format!("{name}_total"),
                _ => name.to_owned(),
            };
            // Upstream has counters that do not say that they are totals.
            count = (kind == "counter" && shown == name).then(|| (format!("{name}_total"), name));
            if let Some((_, what)) = help.take().and_then(|help| help.split_once(' ')) {
                out.push_str(&format!("# HELP {shown} {what}\n"));
            }
            out.push_str(&format!("# TYPE {shown} {kind}\n"));
        } else if line.starts_with("# ") {
            // Units and the end have no place here.
        } else if let Some((rest, name)) =
            count.as_ref().and_then(|(total, name)| Some((line.strip_prefix(total.as_str())?, name)))
        {
            out.push_str(name);
            out.push_str(rest);
            out.push('\n');
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_names_counters_as_their_lines() {
        let open = "# HELP a_b What.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP c_count Why.\n# TYPE c_count counter\n\
            c_count_total 3\n# HELP d_seconds How long.\n# TYPE d_seconds gauge\n# UNIT d_seconds seconds\nd_seconds 4\n# EOF\n";
        let expect = "# HELP a_b_total What.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP c_count Why.\n\
            # TYPE c_count counter\nc_count 3\n# HELP d_seconds How long.\n# TYPE d_seconds gauge\nd_seconds 4\n";
        assert_eq!(plain(open), expect);
    }
}
