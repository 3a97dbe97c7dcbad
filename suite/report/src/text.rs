//! What a run looks like as text: the table on a terminal, the report, and the Markdown they share.

pub mod markdown;
pub mod report;
pub mod terminal;
