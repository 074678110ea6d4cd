//! The options of a description, as they were given.

use crate::report::{GuestFormat, GuestReason};

/// A word of the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Its line, from 1.
    pub line: usize,
    pub text: String,
}

/// An option, with its argument if it takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub line: usize,
    /// The name without dashes.
    pub name: String,
    pub value: Option<String>,
}

/// A description that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub format: GuestFormat,
    /// The program's file name.
    pub program: Option<String>,
    /// Words that are no option: the environment, wrappers and what follows the command.
    pub around: Vec<Word>,
    /// Elements of a domain that no option stands for, with the reason.
    pub left_out: Vec<(Word, GuestReason)>,
    pub options: Vec<Given>,
    /// The file of `-readconfig` is among the options.
    pub has_config: bool,
}

/// Options without an argument.
const FLAGS: &[&str] = &[
    "S",
    "alt-grab",
    "bt",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-fips",
    "enable-kvm",
    "fips",
    "full-screen",
    "h",
    "help",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-frame",
    "no-hpet",
    "no-kvm",
    "no-kvm-irqchip",
    "no-kvm-pit",
    "no-kvm-pit-reinjection",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nodefconfig",
    "nographic",
    "nouserconfig",
    "old-param",
    "one-insn-per-tb",
    "only-migratable",
    "portrait",
    "preconfig",
    "s",
    "sdl",
    "semihosting",
    "singlestep",
    "snapshot",
    "tdf",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-domid-restrict",
];

/// Tells whether an option takes no argument.
pub(super) fn is_flag(name: &str) -> bool {
    FLAGS.contains(&name)
}

impl Description {
    /// Sorts the words behind the program into options.
    pub(super) fn of(
        format: GuestFormat,
        program: Option<String>,
        around: Vec<Word>,
        words: Vec<Word>,
    ) -> Description {
        Description {
            format,
            program,
            around,
            left_out: Vec::new(),
            options: Description::options(words),
            has_config: false,
        }
    }

    /// Takes the options of a configuration file, where the command names one or else at the end.
    pub(super) fn configured(mut self, config: Vec<Given>) -> Description {
        self.has_config = !config.is_empty();
        let named = self
            .options
            .iter()
            .position(|option| option.name == "readconfig");
        let at = named.map_or(self.options.len(), |at| at + 1);
        self.options.splice(at..at, config);
        self
    }

    /// Sorts words into options.
    pub(super) fn options(words: Vec<Word>) -> Vec<Given> {
        let mut options = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let name = word.text.strip_prefix("--").or(word.text.strip_prefix('-'));
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                // A list of processes shows no quotes, so that a value with a space in it goes on.
                let before = options
                    .last_mut()
                    .and_then(|given: &mut Given| given.value.as_mut());
                if let (Some(value), true) = (before, word.text.contains('=')) {
                    value.push(' ');
                    value.push_str(&word.text);
                    continue;
                }
                // QEMU takes a word alone for the image of a disk.
                options.push(Given {
                    line: word.line,
                    name: "hda".to_owned(),
                    value: Some(word.text),
                });
                continue;
            };
            let value = match is_flag(name) {
                true => None,
                false => words.next().map(|value| value.text),
            };
            options.push(Given {
                line: word.line,
                name: name.to_owned(),
                value,
            });
        }
        options
    }
}
