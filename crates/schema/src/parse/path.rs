//! Where in a tree a walk is: frames on the walk's own stack, made text only when something is found.

/// One step of a path and what is above it.
pub(crate) struct Frame<'a> {
    pub parent: Option<&'a Frame<'a>>,
    pub step: Step<'a>,
}

/// A step into an object or an array.
#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Frame<'a> {
    pub fn key(parent: Option<&'a Frame<'a>>, key: &'a str) -> Frame<'a> {
        Frame { parent, step: Step::Key(key) }
    }

    pub fn index(parent: Option<&'a Frame<'a>>, index: usize) -> Frame<'a> {
        Frame { parent, step: Step::Index(index) }
    }
}

/// The path of `name` under `parent`: `spec.containers[0].name`.
pub(crate) fn join(parent: Option<&Frame>, name: &str) -> String {
    let mut out = String::new();
    if let Some(frame) = parent {
        write(frame, &mut out);
        out.push('.');
    }
    out.push_str(name);
    out
}

fn write(frame: &Frame, out: &mut String) {
    if let Some(parent) = frame.parent {
        write(parent, out);
    }
    match frame.step {
        Step::Key(key) => {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(key);
        }
        Step::Index(index) => {
            out.push('[');
            out.push_str(&index.to_string());
            out.push(']');
        }
    }
}
