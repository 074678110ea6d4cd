//! Device sets of others: what they plug in has to touch nothing but the guest.
//!
//! The words that QEMU would get are looked at, whichever key of the set they come from. An option is refused unless a
//! guest of the user's own may have it too, and has it unchanged.

use serde_json::Value;

use crate::beside::has_stand_in;
use crate::devices::DeviceSet;
use crate::guest::block;
use crate::guest::composer::{Composer, FlashSizes};
use crate::guest::defined::Defined;
use crate::guest::device::{is_harmless, property};
use crate::guest::given::Given;
use crate::guest::opts::{Opts, Setting, is_name, is_word};
use crate::guest::tpm;
use crate::model::Pattern;
use crate::report::Treatment;

/// Types of device that reach for the host by themselves, without a property that says so.
const OF_THE_HOST: &[&str] = &[
    "vfio-*",
    "vhost-*",
    "usb-host",
    "u2f-passthru",
    "guest-loader",
    "xen-*",
    "*-passthrough",
];

/// A part of a set that may lead out of the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{device}`: {what}")]
pub(crate) struct Leak {
    /// The device with which it comes.
    pub device: String,
    pub what: What,
}

/// The kind of a [`Leak`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum What {
    /// A word that stands where an option has to stand, or an option of no guest.
    #[error("`{0}` is none of the options that concern the guest alone")]
    Option(String),
    /// A type of device that is one of the host.
    #[error("the device type {0} is one of the host")]
    Driver(String),
    /// A setting of an option.
    #[error("`{setting}` of {option} may lead out of the guest")]
    Setting { option: String, setting: String },
}

/// Checks that the devices of a set concern the guest alone, as they are plugged in on an architecture.
///
/// # Errors
/// An option, a type of device or a setting may lead out of the guest, or its effect is not known.
pub(crate) fn confine(set: &DeviceSet, arch: &str) -> Result<(), Leak> {
    let devices = set.devices.iter();
    let words = devices.map(|device| (device.id.as_str(), device.args(arch)));
    confine_words(words, arch)
}

/// Checks that options concern the guest alone: those of each device, word by word.
///
/// # Errors
/// As of [`confine`].
pub(crate) fn confine_words<'d>(
    devices: impl Iterator<Item = (&'d str, Vec<String>)>,
    arch: &str,
) -> Result<(), Leak> {
    let (mut owners, mut options) = (Vec::new(), Vec::new());
    for (id, words) in devices {
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            // QEMU takes one dash or two.
            let name = word.strip_prefix("--").or(word.strip_prefix('-'));
            match (name, words.next()) {
                (Some(name), Some(value)) if !value.starts_with('-') => {
                    owners.push(id);
                    options.push(Given {
                        line: 0,
                        name: name.to_owned(),
                        value: Some(value),
                    });
                }
                _ => {
                    return Err(Leak {
                        device: id.to_owned(),
                        what: What::Option(word),
                    });
                }
            }
        }
    }
    let mut composer = Composer::new(
        Some(arch.to_owned()),
        Defined::of(&options),
        FlashSizes::default(),
    );
    for (id, given) in owners.into_iter().zip(&options) {
        check(&mut composer, given).map_err(|what| Leak {
            device: id.to_owned(),
            what,
        })?;
    }
    Ok(())
}

fn check(composer: &mut Composer, given: &Given) -> Result<(), What> {
    let value = given.value.as_deref().unwrap_or_default();
    let option = format!("-{}", given.name);
    let settings = |implied: &str, takes_json: bool| -> Result<Settings, What> {
        Settings::read(&option, value, implied, takes_json)
    };
    match given.name.as_str() {
        "device" => device(settings("driver", true)?),
        "netdev" => settings("type", true)?.all(&[("type", &["hubport"])], &["id", "hubid"]),
        "chardev" => settings("backend", false)?
            .all(&[("backend", &["null", "ringbuf"])], &["id", "size", "mux"]),
        "audiodev" => settings("driver", true)?.all(&[("driver", &["none"])], &["id"]),
        "tpmdev" => settings("type", false)?.all(&[("type", &[tpm::EMULATOR])], &["id", "chardev"]),
        "fsdev" => settings("fsdriver", false)?.all(&[("fsdriver", &["synth"])], &["id"]),
        "blockdev" => settings("driver", true)?.all(&[("driver", block::NO_HOST)], block::SETTINGS),
        "drive" => settings("", false)?.all(
            &[
                ("driver", block::NO_HOST),
                ("file.driver", block::NO_HOST),
                ("file", &["null-co://", "null-aio://"]),
                ("format", &["raw"]),
            ],
            &[block::SEEN, block::SETTINGS].concat(),
        ),
        "object" => {
            settings("qom-type", true)?;
            unchanged(composer, given, &option)
        }
        "machine" | "M" | "m" | "smp" | "numa" | "global" | "rtc" | "boot" | "smbios" | "uuid"
        | "fw_cfg" | "vga" => unchanged(composer, given, &option),
        _ => Err(What::Option(option)),
    }
}

/// Checks that a guest of the user's own would have the option as it is.
fn unchanged(composer: &mut Composer, given: &Given, option: &str) -> Result<(), What> {
    let treated = composer.treat(given);
    let lost = treated.without.first().map(|gone| gone.name.clone());
    match (treated.treatment, lost) {
        (Treatment::Kept, None) => Ok(()),
        (_, lost) => Err(What::Setting {
            option: option.to_owned(),
            setting: lost.unwrap_or_else(|| given.value.clone().unwrap_or_default()),
        }),
    }
}

fn device(settings: Settings) -> Result<(), What> {
    for (name, setting) in &settings.opts.items {
        let refused = settings.refused(name, setting);
        match (name.as_str(), setting) {
            ("driver", Setting::Text(driver)) => {
                let mut patterns = OF_THE_HOST.iter();
                let of_the_host = !has_stand_in(driver)
                    && patterns.any(|pattern| Pattern::from(*pattern).fits(driver));
                // `SUNW,fdtwo` is a name with a comma.
                if of_the_host || !driver.split(',').all(is_name) {
                    return Err(What::Driver(driver.clone()));
                }
            }
            (_, Setting::Text(value)) => property(name, value).map_err(|_| refused)?,
            (_, nested) => match property(name, "").is_ok() && is_harmless(nested) {
                true => {}
                false => return Err(refused),
            },
        }
    }
    Ok(())
}

/// The settings of an option.
struct Settings {
    option: String,
    opts: Opts,
}

impl Settings {
    /// Reads settings in the one way in which every release reads them.
    fn read(option: &str, value: &str, implied: &str, takes_json: bool) -> Result<Settings, What> {
        let whole = || What::Setting {
            option: option.to_owned(),
            setting: value.to_owned(),
        };
        let opts = Opts::parse(value, implied).map_err(|_| whole())?;
        let json = value.trim_start().starts_with('{');
        // A release that takes no JSON would see settings of its own behind a comma.
        let has_comma = |setting: &Setting| match setting {
            Setting::Text(text) => text.contains(','),
            Setting::Nested(value) => any_text(value, &|text| text.contains(',')),
        };
        let misread = json
            && (!takes_json
                || opts
                    .items
                    .iter()
                    .any(|(name, value)| name.contains(',') || has_comma(value)));
        let twice = opts
            .items
            .iter()
            .enumerate()
            .any(|(at, (name, _))| opts.items[..at].iter().any(|(other, _)| other == name));
        match misread || twice {
            true => Err(whole()),
            false => Ok(Settings {
                option: option.to_owned(),
                opts,
            }),
        }
    }

    fn refused(&self, name: &str, setting: &Setting) -> What {
        What::Setting {
            option: self.option.clone(),
            setting: match setting {
                Setting::Text(text) => format!("{name}={text}"),
                Setting::Nested(_) => name.to_owned(),
            },
        }
    }

    /// Checks that each setting is one of `chosen` with one of its values, or one of `others` with a plain word.
    fn all(self, chosen: &[(&str, &[&str])], others: &[&str]) -> Result<(), What> {
        for (name, setting) in &self.opts.items {
            let is_fine = setting.text().is_some_and(|text| {
                let values = chosen.iter().find(|(known, _)| known == name);
                match values {
                    Some((_, values)) => values.contains(&text),
                    None => others.contains(&name.as_str()) && is_word(text),
                }
            });
            if !is_fine {
                return Err(self.refused(name, setting));
            }
        }
        Ok(())
    }
}

/// Tells whether a text or the name of a key, anywhere in a value, is such.
fn any_text(value: &Value, is_such: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_such(text),
        Value::Array(values) => values.iter().any(|value| any_text(value, is_such)),
        Value::Object(object) => object
            .iter()
            .any(|(name, value)| is_such(name) || any_text(value, is_such)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entry: &str) -> DeviceSet {
        let text =
            format!("name='x'\ndescription='d'\n[[device]]\nid='a'\ndriver='e1000'\n{entry}\n");
        DeviceSet::parse("own.toml", &text).unwrap()
    }

    #[test]
    fn what_runs_or_reaches_something_is_refused() {
        // What is added to a device, and what the refusal names.
        let table = r#"
            backend=['-incoming','exec:true'] -> -incoming
            backend=['-pidfile','p'] -> -pidfile
            backend=['--pidfile','p'] -> -pidfile
            backend=['-D','log'] -> -D
            backend=['-monitor','tcp:127.0.0.1:1,server'] -> -monitor
            backend=['-S','-daemonize'] -> -S
            backend=['-vga','std','-snapshot'] -> -snapshot
            backend=['-netdev','tap,id=n,script=x'] -> type=tap
            backend=['-netdev','user,id=n,guestfwd=x'] -> type=user
            backend=['-netdev','hubport,id=n,hubid=0,script=x'] -> script=x
            backend=['-chardev','file,id=c,path=p'] -> backend=file
            backend=['-chardev','null,id=c,logfile=p'] -> logfile=p
            backend=['-chardev','null,id=c,backend=file'] -> backend=file
            backend=['-chardev','{"backend":"null","id":"c,backend=file,path=p"}'] -> path=p
            backend=['-blockdev','file,node-name=n,filename=p'] -> driver=file
            backend=['-blockdev','null-co,node-name=n,file.filename=p'] -> file.filename=p
            backend=['-drive','id=d,if=none,file=p'] -> file=p
            backend=['-drive','id=d,file.driver=nbd'] -> file.driver=nbd
            backend=['-fsdev','local,id=f,path=p'] -> fsdriver=local
            backend=['-audiodev','wav,id=w,path=p'] -> driver=wav
            backend=['-object','memory-backend-file,id=m,size=1M,mem-path=p'] -> mem-path
            backend=['-object','secret,id=s,file=p'] -> secret
            backend=['-object','filter-dump,id=f,netdev=n,file=p'] -> filter-dump
            backend=['-tpmdev','passthrough,id=t,path=p'] -> type=passthrough
            backend=['-tpmdev','emulator,id=t,chardev=c,path=p'] -> path=p
            backend=['-machine','dumpdtb=p'] -> dumpdtb
            backend=['-smbios','file=p'] -> file=p
            backend=['-fw_cfg','name=opt/x,file=p'] -> file=p
            backend=['-global','loader.file=p'] -> loader.file=p
            backend=['-device','loader,file=p'] -> file=p
            bus='pci.0,romfile=p' -> romfile=p
            properties={romfile='p'} -> romfile=p
            properties={serial='a',x='/etc/passwd'} -> /etc/passwd
            driver_on={x86_64='vfio-pci'} -> vfio-pci
            driver_on={x86_64='usb-host'} -> usb-host
            driver_on={x86_64='uefi-vars-x64'}; properties={jsonfile='p'} -> jsonfile
        "#;
        for row in table.trim().lines() {
            let (entry, found) = row.trim().split_once(" -> ").expect(row);
            let entry = &entry.replace("; ", "\n");
            let leak = confine(&set(entry), "x86_64").expect_err(entry);
            assert!(leak.to_string().contains(found), "{entry}: {leak}");
        }
    }

    #[test]
    fn what_concerns_the_guest_alone_is_not() {
        for entry in [
            "backend=['-netdev','hubport,id=n,hubid=0']\nproperties={netdev='n'}",
            r#"backend=['-netdev','{"type":"hubport","id":"n","hubid":0}']"#,
            "backend=['-m','slots=2,maxmem=4G','-object','memory-backend-ram,id=m,size=8M,share=on']",
            "backend=['-chardev','null,id=c','-tpmdev','emulator,id=t,chardev=c']",
            "backend=['-machine','smm=off','-global','e1000.extra_mac_registers=off']",
            "backend=['-drive','if=none,id=d,driver=null-co']",
            "backend=['-smbios','type=1,serial=a/b']",
            "properties={romfile='',mac='52:54:00:00:00:01',serial='a,b'}",
        ] {
            assert_eq!(confine(&set(entry), "x86_64"), Ok(()), "{entry}");
        }
        for set in DeviceSet::all() {
            for arch in ["x86_64", "aarch64", "s390x", "ppc64", "riscv64"] {
                let shipped = confine(set, arch);
                assert_eq!(shipped, Ok(()), "{} on {arch}", set.name);
            }
        }
    }

    #[test]
    fn a_device_that_is_given_is_looked_at_too() {
        for (argument, is_fine) in [
            ("e1000,mac=52:54:00:00:00:01", true),
            (r#"{"driver":"rocker","id":"r","ports":["a","b"]}"#, true),
            ("loader,file=p", false),
            ("e1000,romfile=/etc/passwd", false),
            (r#"{"driver":"e1000","id":"a,driver=loader,file=p"}"#, false),
            (r#"{"driver":"e1000","x":{"path":"p"}}"#, false),
            ("vfio-pci,host=0000:00:01.0", false),
        ] {
            let set = DeviceSet::ad_hoc(&[argument.to_owned()], "x86_64").unwrap();
            assert_eq!(confine(&set, "x86_64").is_ok(), is_fine, "{argument}");
        }
    }
}
