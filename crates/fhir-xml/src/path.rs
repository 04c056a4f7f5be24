//! The way from a resource to the element that is looked at, as the simple FHIRPath which is the
//! same in both formats.

/// One step: a resource type at first, then elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'s> {
    pub(crate) name: &'s str,
    /// Which of the repeats, where there can be several.
    pub(crate) index: Option<usize>,
}

/// `Patient.name[0].given[1]`
pub(crate) fn expression(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(step.name);
        if let Some(index) = step.index {
            text.push_str(&format!("[{index}]"));
        }
    }
    text
}
