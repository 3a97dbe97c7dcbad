//! Where and when a run happens, for provenance only: nothing here reaches a result.

use std::process::Command;

use synergy_report::score::Machine;

/// Commit of the working tree and whether it has changes; `unknown` outside a repository.
pub fn commit() -> (String, bool) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let dirty = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    (commit, dirty)
}

/// Version of the compiler that would build this now.
pub fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output
        .map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// The processor's name and number of cores.
pub fn describe_parts() -> Machine {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, n)| n.trim()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine { cpu: name.unwrap_or(std::env::consts::ARCH).to_owned(), cores: cores as u32 }
}

/// The processor's name and number of cores, in one line.
pub fn describe() -> String {
    let machine = describe_parts();
    format!("{}, {} cores", machine.cpu, machine.cores)
}

/// Today's date, UTC, as `2026-01-31`.
pub fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(since.map_or(0, |d| d.as_secs() / 86_400))
}

/// The time now, UTC, as `2026-01-31T12:34:56`.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time(since.map_or(0, |d| d.as_secs()))
}

fn time(seconds: u64) -> String {
    let (day, left) = (seconds / 86_400, seconds % 86_400);
    format!("{}T{:02}:{:02}:{:02}", date(day), left / 3600, left / 60 % 60, left % 60)
}

/// The civil date of a day number since 1970-01-01 (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn date(days: u64) -> String {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::{date, time};

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_454), "2026-01-01");
        assert_eq!(time(20_454 * 86_400 + 3_661), "2026-01-01T01:01:01");
    }
}
