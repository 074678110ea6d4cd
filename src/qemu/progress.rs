//! What a person sees while a build is fetched.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How much is said on standard error while something takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Quiet,
    /// A line when a step starts and one when everything is done: for logs.
    Lines,
    /// A bar that moves.
    Bar,
}

impl Progress {
    /// Quiet if asked to be; else a bar on a terminal and lines anywhere else.
    pub fn auto(quiet: bool) -> Self {
        match quiet {
            true => Progress::Quiet,
            false if std::io::stderr().is_terminal() => Progress::Bar,
            false => Progress::Lines,
        }
    }

    /// Something said once.
    pub(crate) fn say(self, text: &str) {
        if self != Progress::Quiet {
            eprintln!("{text}");
        }
    }

    /// A step of which the length is not known.
    pub(crate) fn spinner(self, text: impl Into<Cow<'static, str>>) -> Step {
        let bar = ProgressBar::new_spinner();
        self.step(bar, "{spinner} {msg} {elapsed}", text.into())
    }

    /// A step of so many bytes.
    pub(crate) fn bytes(self, total: u64, text: impl Into<Cow<'static, str>>) -> Step {
        let template =
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
        self.step(ProgressBar::new(total), template, text.into())
    }

    /// A step of so many things.
    pub(crate) fn count(self, total: u64, text: impl Into<Cow<'static, str>>) -> Step {
        self.step(
            ProgressBar::new(total),
            "{msg} {wide_bar} {pos}/{len}",
            text.into(),
        )
    }

    fn step(self, bar: ProgressBar, template: &str, text: Cow<'static, str>) -> Step {
        match self {
            Progress::Quiet => bar.set_draw_target(indicatif::ProgressDrawTarget::hidden()),
            Progress::Lines => {
                bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
                eprintln!("{text}");
            }
            Progress::Bar => {
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                bar.set_message(text);
                bar.enable_steady_tick(Duration::from_millis(200));
            }
        }
        Step(bar)
    }
}

/// A step under way; it leaves the screen when dropped.
pub(crate) struct Step(ProgressBar);

impl Step {
    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
