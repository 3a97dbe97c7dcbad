//! The verbs of the command line, a file each: arguments in, calls to the other rooms, text out.

pub mod chat;
pub mod evaluate;
pub mod grade;
pub mod inspect;
pub mod leaderboard;
pub mod merge;
pub mod show;
