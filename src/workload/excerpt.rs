//! The lines of a console that tell why a guest stopped.

use std::collections::VecDeque;

/// The last lines that are kept of each part.
const LAST: usize = 5;
/// The first lines of a kernel's report that are kept: what happened, to which process, in which function.
const REPORT: usize = 8;
/// The longest line that is kept, in bytes.
const LONGEST: usize = 200;
/// The words by which a kernel says why it gives up. The way to it follows.
const PANIC: &str = "Kernel panic";
/// Stands for lines that are left out.
const LEFT_OUT: &str = "...";

/// An excerpt of a console: its last lines, and those with which its kernel began to report. A kernel that boots quietly
/// says nothing until something goes wrong, and much then.
#[derive(Debug, Clone, Default)]
pub(super) struct Excerpt {
    /// The last lines before the kernel said anything.
    before: VecDeque<String>,
    report: Vec<String>,
    /// The last lines behind those of the report.
    after: VecDeque<String>,
    /// Lines between the report and these are left out.
    is_cut: bool,
    /// The kernel has given up.
    is_over: bool,
}

impl Excerpt {
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.report.is_empty()
    }

    /// Takes the next line, without its end.
    pub(super) fn take(&mut self, line: &[u8]) {
        if self.is_over {
            return;
        }
        let shown = line.get(..LONGEST).unwrap_or(line);
        let shown = shown.escape_ascii().to_string();
        self.is_over = shown.contains(PANIC);
        if self.report.is_empty() && !is_of_kernel(&shown) {
            keep(&mut self.before, shown);
        } else if self.report.len() < REPORT {
            self.report.push(shown);
        } else {
            self.is_cut |= keep(&mut self.after, shown);
        }
    }

    /// Returns the lines, in their order.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        let gap = self.is_cut.then_some(LEFT_OUT);
        let first = self.before.iter().chain(&self.report).map(String::as_str);
        first
            .chain(gap)
            .chain(self.after.iter().map(String::as_str))
    }
}

/// Adds a line, and tells whether another one had to go.
fn keep(lines: &mut VecDeque<String>, line: String) -> bool {
    lines.push_back(line);
    lines.len() > LAST && lines.pop_front().is_some()
}

/// Tells whether a kernel wrote a line: such a line begins with the seconds since its start, as in `[    2.090240] BUG:`.
fn is_of_kernel(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let seconds = stamp.and_then(|(stamp, _)| stamp.trim_start().split_once('.'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    seconds.is_some_and(|(whole, part)| is_number(whole) && is_number(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(console: &[&str]) -> Vec<String> {
        let mut excerpt = Excerpt::default();
        for line in console {
            excerpt.take(line.as_bytes());
        }
        excerpt.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_last_lines_are_kept() {
        let console = ["1", "2", "3", "[drm] 4", "[ x.1] 5", "6", "7"];
        assert_eq!(lines_of(&console), console[2..]);
        assert!(lines_of(&[]).is_empty());
        assert_eq!(lines_of(&[&"x".repeat(300)])[0].len(), LONGEST);
    }

    #[test]
    fn a_report_is_kept_from_its_first_line_to_why_the_kernel_gives_up() {
        let frames = (0..30).map(|at| format!("[    2.1] frame {at}"));
        let bug = "[    2.0] BUG: unable to handle page fault".to_owned();
        let panic = "[    2.2] Kernel panic - not syncing: Fatal exception".to_owned();
        let console: Vec<String> = std::iter::once("I looks".to_owned())
            .chain([bug])
            .chain(frames)
            .chain([panic, "[    2.3] Rebooting".to_owned()])
            .collect();
        let console: Vec<&str> = console.iter().map(String::as_str).collect();
        let mut kept = console[..=REPORT].to_vec();
        kept.push(LEFT_OUT);
        kept.extend(&console[28..33]);
        assert_eq!(lines_of(&console), kept);
    }

    #[test]
    fn a_kernel_that_gives_up_at_once_says_so_in_one_line() {
        let panic = "[    0.1] Kernel panic - not syncing: no timer";
        assert_eq!(
            lines_of(&["SeaBIOS", panic, "[    0.1] frame"]),
            ["SeaBIOS", panic]
        );
    }
}
