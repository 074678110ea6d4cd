//! The memory of a guest whose devices are worked outside of QEMU: another program maps it.

use std::ffi::OsString;

use crate::qemu::settings;

/// The block of memory of a machine that has none of a name.
const BLOCK: &str = "migcompat-memory";
/// The memory of a machine that is not told how much it has: that of most machines.
const USUAL: &str = "128M";
/// The kind of memory that another program can map, and how the stream names it: as plain memory is named.
const SHARED: &str = "share=on,x-use-canonical-path-for-ramblock-id=off";

/// Makes the memory of a machine such as other programs can map.
pub(super) fn share(args: &mut Vec<OsString>) {
    let mut size = USUAL.to_owned();
    let mut has_block = false;
    for at in 1..args.len() {
        let Some(value) = args[at].to_str() else {
            continue;
        };
        match args[at - 1].to_str() {
            Some("-m") => size = size_of(value).unwrap_or(size),
            Some("-M" | "-machine") => has_block |= value.contains("memory-backend="),
            // Its nodes have blocks of their own.
            Some("-numa") => has_block |= value.contains("memdev="),
            Some("-object") => {
                if let Some(shared) = shared(value) {
                    args[at] = shared.into();
                }
            }
            _ => {}
        }
    }
    if !has_block {
        let object = format!("memory-backend-memfd,id={BLOCK},size={size},{SHARED}");
        let machine = format!("memory-backend={BLOCK}");
        args.extend(["-object", &object, "-machine", &machine].map(OsString::from));
    }
}

/// Returns the size that `-m` gives, with its unit. There may be several, each with a part of the settings.
fn size_of(value: &str) -> Option<String> {
    let mut words = value.split(',').enumerate();
    let size = words.find_map(|(at, word)| match word.split_once('=') {
        Some(("size", size)) => Some(size),
        Some(_) => None,
        None => (at == 0).then_some(word),
    })?;
    let has_unit = size.ends_with(|last: char| last.is_ascii_alphabetic());
    Some(format!("{size}{}", if has_unit { "" } else { "M" }))
}

/// Returns a block of memory that other programs can map, for one that they cannot.
fn shared(object: &str) -> Option<String> {
    let known = settings(object, "qom-type", "memory-backend-ram")?;
    let kept = known.filter(|(name, _)| *name != "share");
    let words = kept.map(|(name, value)| format!(",{name}={value}"));
    Some(format!(
        "memory-backend-memfd,share=on{}",
        words.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_a_block_that_others_can_map() {
        let block = |size: &str| {
            format!(
                " -object memory-backend-memfd,id=migcompat-memory,size={size},share=on,\
                 x-use-canonical-path-for-ramblock-id=off -machine memory-backend=migcompat-memory"
            )
        };
        let own = "-object memory-backend-memfd,share=on,id=pc.ram,size=1G";
        for (args, shared) in [
            ("-M q35 -m 32M", "-M q35 -m 32M".to_owned() + &block("32M")),
            ("-M q35 -m 128", "-M q35 -m 128".to_owned() + &block("128M")),
            (
                "-M q35 -m size=2G,slots=2,maxmem=4G",
                "-M q35 -m size=2G,slots=2,maxmem=4G".to_owned() + &block("2G"),
            ),
            (
                "-M q35 -m 8M -m slots=4,maxmem=1G",
                "-M q35 -m 8M -m slots=4,maxmem=1G".to_owned() + &block("8M"),
            ),
            ("-M q35", "-M q35".to_owned() + &block("128M")),
            (
                "-m 1G -numa node,mem=1G",
                "-m 1G -numa node,mem=1G".to_owned() + &block("1G"),
            ),
            (
                "-M q35,memory-backend=pc.ram -m 1G -object memory-backend-ram,id=pc.ram,size=1G",
                format!("-M q35,memory-backend=pc.ram -m 1G {own}"),
            ),
            (
                "-m 1G -object qom-type=memory-backend-ram,id=pc.ram,size=1G,share=off -numa node,memdev=pc.ram",
                format!("-m 1G {own} -numa node,memdev=pc.ram"),
            ),
        ] {
            let mut words: Vec<OsString> = args.split(' ').map(OsString::from).collect();
            share(&mut words);
            let changed = words.join(OsStr::new(" ")).into_string().unwrap();
            assert_eq!(changed, shared);
        }
    }
}
