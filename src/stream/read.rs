//! The framing of a stream: bytes, in pieces of any size, become sections.
//!
//! The bytes of a device's section do not say where it ends; only the description does, and that
//! comes last. Until then its end is taken to be the first footer of its own that something follows
//! which can follow a footer (a section header, a command, the end of the stream). The description
//! then has the last word: a section that does not decode to its last byte is [`Content::Broken`].
//! Machine types of QEMU 2.3 and older send no footers; of such a stream everything from the first
//! device on is kept until the description is there.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::model::{SectionName, in_brief};
use crate::stream::cut::{Cut, Stop};
use crate::stream::error::{StreamError, StreamErrorKind};
use crate::stream::iterative::{Iterative, IterativeStep};
use crate::stream::ram::{MappedPages, RamReader, RamStep, RamVisitor};
use crate::stream::record::{
    COMMAND, CONFIGURATION, END, EOF, FOOTER, FULL, PART, START, VMDESCRIPTION, configuration,
    find_footer, footer, header,
};
use crate::stream::tail;
use crate::stream::tree::{Command, Content, DescriptionState, Section, SectionKind, Stream};
use crate::stream::values;
use crate::stream::vmdesc::{DeviceDesc, VmDesc};

const POSTCOPY_ADVISE: u16 = 3;

/// The options for reading a stream.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a guest page. By default what the configuration says, or what fits the first page.
    pub page_size: Option<u32>,
    /// Most bytes of device state and description that are kept.
    pub limit: u64,
    /// Bytes of the file before the stream: `mapped-ram` counts from the start of the file.
    pub before: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            page_size: None,
            limit: 1 << 30,
            before: 0,
        }
    }
}

/// The result of reading: all that could be read, and why there is no more.
#[derive(Debug, Clone)]
pub struct Reading<V = ()> {
    pub stream: Stream,
    pub error: Option<StreamError>,
    pub visitor: V,
}

/// Reads a stream to its end. The reader is best given unbuffered.
pub fn read<R: Read, V: RamVisitor>(mut input: R, options: Options, visitor: V) -> Reading<V> {
    let mut parser = Parser::new(options, visitor);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if parser.feed(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                parser.fail(0, StreamErrorKind::Io(Arc::new(e)));
                break;
            }
        }
    }
    parser.finish()
}

/// Reads a stream that is in memory.
pub fn parse(bytes: &[u8]) -> Reading {
    let mut parser = Parser::new(Options::default(), ());
    // A failure is kept for the end.
    let _ = parser.feed(bytes);
    parser.finish()
}

/// A reader that takes a stream piece by piece, for a relay that has the bytes as they pass.
#[derive(Debug)]
pub struct Parser<V = ()> {
    options: Options,
    visitor: V,
    stream: Stream,
    state: State,
    ram: RamReader,
    footers: Footers,
    /// The section whose body is read.
    current: usize,
    /// Sections by id, for parts and footers.
    ids: FxHashMap<u32, usize>,
    /// The start of a record that is not complete.
    pending: Vec<u8>,
    /// Bytes of records that are done.
    done: u64,
    /// Bytes of device state kept so far.
    kept: u64,
    failed: Option<StreamError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footers {
    Unknown,
    Sent,
    NotSent,
}

#[derive(Debug)]
enum State {
    Header,
    Record,
    Ram,
    /// The pages of a RAM block at their fixed place, then on with the list.
    MappedPages(MappedPages),
    Iterative(Iterative),
    /// Bytes to pass over, then on as before.
    Skip(Iterative, u64),
    Device(Vec<u8>),
    Footer,
    /// No footers: all that follows is kept.
    Tail(Vec<u8>),
    AfterEof,
    Description {
        size: usize,
        json: Vec<u8>,
    },
    Done,
}

impl<V: RamVisitor> Parser<V> {
    pub fn new(options: Options, visitor: V) -> Self {
        let ram = RamReader::new(
            options
                .page_size
                .filter(|size| size.is_power_of_two() && *size >= 256),
        );
        Parser {
            options,
            visitor,
            stream: Stream::default(),
            state: State::Header,
            ram,
            footers: Footers::Unknown,
            current: 0,
            ids: FxHashMap::default(),
            pending: Vec::new(),
            done: 0,
            kept: 0,
            failed: None,
        }
    }

    /// Takes the next bytes. After an error all further bytes are only counted, and the error
    /// comes again.
    ///
    /// # Errors
    /// The framing of the stream cannot be followed any further.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        self.stream.length += bytes.len() as u64;
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // A record begun in the last piece is completed first, with no more bytes than it needs.
        while !self.pending.is_empty() {
            let mut pending = std::mem::take(&mut self.pending);
            match self.advance(&pending, false)? {
                Ok(used) => {
                    // Steps ask for what they need from the start of a record, so that nothing
                    // of the next one is ever in here, except where a step looks ahead.
                    pending.drain(..used);
                    self.pending = pending;
                }
                Err(needs) => {
                    let missing = needs.saturating_sub(pending.len()).max(1);
                    if bytes.is_empty() {
                        self.pending = pending;
                        return Ok(());
                    }
                    let (now, later) = bytes.split_at(missing.min(bytes.len()));
                    pending.extend_from_slice(now);
                    bytes = later;
                    self.pending = pending;
                }
            }
        }
        while !bytes.is_empty() {
            match self.advance(bytes, false)? {
                Ok(used) => bytes = bytes.get(used..).unwrap_or_default(),
                Err(_) => {
                    self.pending.extend_from_slice(bytes);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes note that no more bytes will come.
    pub fn finish(mut self) -> Reading<V> {
        if self.failed.is_none() {
            self.last_steps();
        }
        // What a cut-off section had is worth keeping.
        if let State::Device(bytes) = std::mem::replace(&mut self.state, State::Done) {
            self.stream.sections[self.current].set_payload(bytes.into());
        }
        self.stream.page_size = self.ram.page_size();
        Reading {
            stream: self.stream,
            error: self.failed,
            visitor: self.visitor,
        }
    }

    fn last_steps(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        loop {
            if let State::Record | State::AfterEof | State::Done = self.state
                && rest.is_empty()
            {
                break;
            }
            match self.advance(rest, true) {
                Ok(Ok(used)) => rest = rest.get(used..).unwrap_or_default(),
                Ok(Err(_)) => break,
                Err(_kept) => return,
            }
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => {}
            State::AfterEof if rest.is_empty() => {
                self.stream.description = DescriptionState::Absent;
            }
            State::Tail(bytes) => self.finish_tail(bytes),
            // A first device without a footer in sight: perhaps there are none at all.
            State::Device(mut bytes) if self.footers == Footers::Unknown => {
                bytes.extend_from_slice(rest);
                self.finish_tail(bytes);
            }
            state => {
                self.ends(self.reading(&state, rest));
                if let State::Device(mut bytes) = state {
                    bytes.extend_from_slice(rest);
                    self.state = State::Device(bytes);
                }
            }
        }
    }

    /// Takes note that the bytes end too early.
    fn ends(&mut self, reading: String) {
        self.failed = Some(StreamError {
            offset: self.stream.length,
            kind: StreamErrorKind::Ends { reading },
        });
    }

    /// Names the section whose body is read, for people.
    fn section_here(&self) -> String {
        let section = &self.stream.sections[self.current];
        format!("section {} {}", section.name, section.instance_id)
    }

    fn footer_here(&self) -> [u8; 5] {
        footer(self.stream.sections[self.current].id)
    }

    /// Names what the end of the bytes cut short, for people.
    fn reading(&self, state: &State, rest: &[u8]) -> String {
        match state {
            State::Header => "the header".to_owned(),
            State::Record if rest.is_empty() => {
                "the sections, none of which is open (no end mark came)".to_owned()
            }
            State::Record => match rest.first() {
                Some(&CONFIGURATION) => "the configuration".to_owned(),
                Some(&COMMAND) => "a command".to_owned(),
                _ => "the header of a section".to_owned(),
            },
            State::Ram
            | State::MappedPages(_)
            | State::Iterative(_)
            | State::Skip(..)
            | State::Device(_)
            | State::Tail(_) => self.section_here(),
            State::Footer => format!("the footer of {}", self.section_here()),
            State::Description { size, json } => {
                format!("the description ({} of {size} bytes are there)", json.len())
            }
            State::AfterEof | State::Done => "the head of the description".to_owned(),
        }
    }

    fn fail(&mut self, at: usize, kind: StreamErrorKind) -> StreamError {
        let offset = match kind {
            StreamErrorKind::Io(_) => self.stream.length,
            _ => self.done + at as u64,
        };
        let error = StreamError { offset, kind };
        self.failed = Some(error.clone());
        error
    }

    /// Takes a step, and keeps the error of one that fails. Returns the bytes that it used, or how many it needs.
    fn advance(&mut self, bytes: &[u8], last: bool) -> Result<Result<usize, usize>, StreamError> {
        match self.step(bytes, last) {
            Ok(used) => Ok(Ok(used)),
            Err(Stop::Need(size)) => Ok(Err(size)),
            Err(Stop::Fail { at, kind }) => Err(self.fail(at, kind)),
            Err(Stop::Error(error)) => Err(self.failed.insert(error).clone()),
        }
    }

    /// One record, or a piece of one. The bytes that it used are not kept.
    fn step(&mut self, bytes: &[u8], last: bool) -> Result<usize, Stop> {
        let mut cut = Cut::new(bytes, last);
        let in_parts = matches!(
            self.state,
            State::Ram | State::MappedPages(_) | State::Iterative(_) | State::Skip(..)
        );
        match &mut self.state {
            State::Header => {
                header(&mut cut)?;
                self.state = State::Record;
            }
            State::Record => self.record(&mut cut)?,
            State::Ram => {
                if let Some(next) = self.ram(&mut cut)? {
                    self.state = next;
                }
            }
            State::MappedPages(pages) => {
                let used = pages.pass(&mut cut, &mut self.stream.ram);
                if pages.is_over() {
                    self.state = State::Ram;
                } else if used == 0 {
                    return Err(Stop::Need(1));
                }
            }
            State::Iterative(Iterative::Unknown) => {
                let (used, found) = find_footer(&cut, self.footer_here(), &self.ids)?;
                cut.take_up_to(used);
                if found {
                    self.state = State::Footer;
                }
            }
            State::Iterative(iterative) => {
                let iterative = *iterative;
                self.state = match iterative.step(&mut cut, self.footer_here())? {
                    IterativeStep::Next(next) => State::Iterative(next),
                    IterativeStep::Skip(next, size) => State::Skip(next, size),
                    IterativeStep::End => State::Footer,
                };
            }
            State::Skip(next, left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let used = cut.take_up_to(most).len();
                *left -= used as u64;
                if *left == 0 {
                    self.state = State::Iterative(*next);
                } else if used == 0 {
                    return Err(Stop::Need(1));
                }
            }
            State::Device(kept) => {
                let section = &mut self.stream.sections[self.current];
                let (used, found) = find_footer(&cut, footer(section.id), &self.ids)?;
                keep(&mut self.kept, used, self.options.limit, &cut)?;
                kept.extend_from_slice(cut.take_up_to(used));
                if found {
                    section.set_payload(std::mem::take(kept).into());
                    self.state = State::Footer;
                }
            }
            State::Footer => {
                self.footer(&mut cut)?;
                self.state = State::Record;
            }
            State::Tail(tail) => {
                let piece = cut.take_up_to(usize::MAX);
                if piece.is_empty() {
                    return Err(Stop::Need(1));
                }
                keep(&mut self.kept, piece.len(), self.options.limit, &cut)?;
                tail.extend_from_slice(piece);
            }
            State::AfterEof => {
                if cut.peek(1)? == [VMDESCRIPTION] {
                    cut.u8()?;
                    let size = cut.length("the description", self.options.limit)?;
                    self.state = State::Description {
                        size: size as usize,
                        json: Vec::new(),
                    };
                } else {
                    self.stream.description = DescriptionState::Absent;
                    self.state = State::Done;
                }
            }
            State::Description { size, json } => {
                json.extend_from_slice(cut.take_up_to(*size - json.len()));
                if json.len() == *size {
                    let json = std::mem::take(json);
                    self.state = State::Done;
                    let offset = self.done + cut.used() as u64 - json.len() as u64;
                    parse_description(&json, offset)
                        .and_then(|vmdesc| self.apply(vmdesc, offset))
                        .map_err(Stop::Error)?;
                } else if cut.used() == 0 {
                    return Err(Stop::Need(1));
                }
            }
            State::Done => self.stream.trailing += cut.take_up_to(usize::MAX).len() as u64,
        }
        if in_parts {
            self.stream.sections[self.current].size += cut.used() as u64;
        }
        self.done += cut.used() as u64;
        Ok(cut.used())
    }

    /// Many records of memory at once: the state need not be looked at for every page. Returns the next state
    /// where they end.
    fn ram(&mut self, cut: &mut Cut<'_>) -> Result<Option<State>, Stop> {
        loop {
            match (self.ram).step(cut, &mut self.stream.ram, &mut self.visitor) {
                Ok(RamStep::More) => cut.mark(),
                Ok(RamStep::End) => return Ok(Some(State::Footer)),
                Ok(RamStep::Mapped(block)) => {
                    let here = self.options.before + self.done + cut.used() as u64;
                    let pages = block.pages_after(here).ok_or_else(|| {
                        cut.fail_start(StreamErrorKind::Unsupported {
                            what: "the header of a mapped RAM block",
                            why: "it names a place before its own; does the stream begin where it did in \
                                  the file that was saved?",
                        })
                    })?;
                    return Ok(Some(State::MappedPages(pages)));
                }
                Err(Stop::Need(_)) if cut.start() > 0 => {
                    cut.reset();
                    return Ok(None);
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    fn record(&mut self, cut: &mut Cut<'_>) -> Result<(), Stop> {
        let kind = cut.u8()?;
        match kind {
            EOF => self.state = State::AfterEof,
            CONFIGURATION if self.stream.configuration.is_none() => {
                let configuration = configuration(cut, self.done + 1)?;
                if let Some(bits @ 8..=16) = configuration.target_page_bits {
                    self.ram.set_page_size(1 << bits);
                }
                self.ram.ignore_shared = configuration.has_capability("x-ignore-shared");
                self.stream.configuration = Some(configuration);
            }
            START | FULL => self.section(kind, cut)?,
            PART | END => {
                let id = cut.u32()?;
                let index = *self
                    .ids
                    .get(&id)
                    .ok_or_else(|| cut.fail_back(4, StreamErrorKind::UnknownSection { id }))?;
                self.open(index);
            }
            COMMAND => {
                let (number, length) = (cut.u16()?, cut.u16()?);
                cut.take(length.into())?;
                // What a package holds are records like any other: they are taken as they come.
                self.ram.postcopy_advised |= number == POSTCOPY_ADVISE;
                self.stream.commands.push(Command {
                    offset: self.done,
                    number,
                    length,
                });
            }
            found => {
                return Err(cut.fail_back(
                    1,
                    StreamErrorKind::Record {
                        expected: "the start of a section, a command or the end",
                        found,
                    },
                ));
            }
        }
        Ok(())
    }

    fn section(&mut self, kind: u8, cut: &mut Cut<'_>) -> Result<(), Stop> {
        let id = cut.u32()?;
        let name = cut.name("a section")?;
        let (instance_id, version_id) = (cut.u32()?, cut.u32()?);
        let kind = match (kind, name) {
            (FULL, _) => SectionKind::Device,
            (_, "ram") => SectionKind::Ram,
            _ => SectionKind::Iterative,
        };
        if kind == SectionKind::Ram {
            if version_id != 4 {
                return Err(cut.fail_back(
                    4,
                    StreamErrorKind::SectionVersion {
                        section: name.to_owned(),
                        found: version_id,
                        known: 4,
                    },
                ));
            }
            if let Some(configuration) = &self.stream.configuration {
                self.ram.mapped = configuration.has_capability("mapped-ram");
            }
        }
        let index = self.stream.sections.len();
        self.stream.sections.push(Section {
            id,
            name: SectionName::new(name),
            instance_id,
            version_id,
            kind,
            offset: self.done,
            payload_offset: self.done + cut.used() as u64,
            size: 0,
            payload: Bytes::new(),
            content: Content::Undescribed,
        });
        self.ids.insert(id, index);
        self.open(index);
        Ok(())
    }

    /// Goes on with the body of a section, or of a part of one.
    fn open(&mut self, index: usize) {
        self.current = index;
        let section = &self.stream.sections[index];
        self.state = match section.kind {
            SectionKind::Ram => State::Ram,
            SectionKind::Iterative => State::Iterative(Iterative::of(section.name.as_str())),
            SectionKind::Device if self.footers == Footers::NotSent => State::Tail(Vec::new()),
            SectionKind::Device => State::Device(Vec::new()),
        };
    }

    fn footer(&mut self, cut: &mut Cut<'_>) -> Result<(), Stop> {
        let section = &self.stream.sections[self.current];
        if self.footers == Footers::Unknown {
            self.footers = if cut.peek(1)? == [FOOTER] {
                Footers::Sent
            } else {
                Footers::NotSent
            };
        }
        if self.footers == Footers::Sent {
            let found = cut.take(5)?;
            if found != footer(section.id) {
                return Err(cut.fail_back(
                    5,
                    StreamErrorKind::Footer {
                        section: section.name.to_string(),
                        id: section.id,
                        found: found.to_vec(),
                    },
                ));
            }
        }
        Ok(())
    }

    /// Takes in the description, whose JSON starts at `offset`.
    fn apply(&mut self, vmdesc: VmDesc, offset: u64) -> Result<(), StreamError> {
        let read = self.ram.page_size();
        self.stream.page_size = read;
        let mismatch = vmdesc
            .page_size
            .filter(|&size| size != u64::from(read) && self.stream.ram.pages > 0);
        self.stream.decode_with(&vmdesc);
        self.stream.description = DescriptionState::Present(Arc::new(vmdesc));
        match mismatch {
            Some(described) => Err(StreamError {
                offset,
                kind: StreamErrorKind::PageSize { described, read },
            }),
            None => Ok(()),
        }
    }

    /// A stream without footers: the description says where each section ends.
    fn finish_tail(&mut self, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let Some(found) = tail::description(&bytes) else {
            self.stream.sections[self.current].set_payload(bytes);
            let section = self.section_here();
            return self.ends(format!(
                "{section}, and neither footers nor a description say where it ends"
            ));
        };
        let start = self.stream.length - bytes.len() as u64;
        // The end mark, the type and the length stand before the JSON.
        let json = start + found.offset as u64 + 6;
        let result = parse_description(found.json, json).and_then(|vmdesc| {
            let sections = bytes.slice(..found.offset);
            let split = tail::split(&mut self.stream, self.current, &sections, &vmdesc);
            split.map_err(|(at, kind)| StreamError {
                offset: start + at as u64,
                kind,
            })?;
            self.apply(vmdesc, json)
        });
        self.failed = result.err();
    }
}

/// Counts bytes that are kept.
fn keep(kept: &mut u64, more: usize, limit: u64, cut: &Cut<'_>) -> Result<(), Stop> {
    *kept += more as u64;
    match *kept > limit {
        true => Err(cut.fail(StreamErrorKind::TooLarge { limit })),
        false => Ok(()),
    }
}

/// An error has the place in the stream: the JSON of QEMU is one line.
fn parse_description(json: &[u8], offset: u64) -> Result<VmDesc, StreamError> {
    VmDesc::parse(json).map_err(|e| StreamError {
        offset: match e.line() {
            1 => offset + (e.column() as u64).saturating_sub(1).min(json.len() as u64),
            _ => offset,
        },
        kind: StreamErrorKind::Description(in_brief(e.to_string())),
    })
}

impl Stream {
    /// Decodes the sections by a description: the stream's own, or for a stream without one that
    /// of another stream of the same build and configuration. Sections that it does not list stay
    /// as they are.
    pub fn decode_with(&mut self, vmdesc: &VmDesc) {
        // For devices of one name and instance, which should not occur, the order decides.
        let mut listed: FxHashMap<(SectionName, u32), VecDeque<&DeviceDesc>> = FxHashMap::default();
        for device in &vmdesc.devices {
            let same = listed.entry((SectionName::new(&device.name), device.instance_id));
            same.or_default().push_back(device);
        }
        for section in &mut self.sections {
            if section.kind != SectionKind::Device {
                continue;
            }
            let same = listed.get_mut(&(section.name.clone(), section.instance_id));
            let Some(device) = same.and_then(VecDeque::pop_front) else {
                continue;
            };
            let description = &device.description;
            let decoded = values::decode(description, &section.payload, section.payload_offset);
            section.content = match decoded.error {
                None => Content::Decoded(decoded.structure),
                Some(error) => Content::Broken(decoded.structure, error),
            };
            section.name = SectionName::described(&device.name, description.name());
        }
        if let (Some(configuration), Some(description)) =
            (&mut self.configuration, &vmdesc.configuration)
        {
            let decoded = values::decode(
                description,
                &configuration.payload,
                configuration.offset + 1,
            );
            configuration.structure = decoded.error.is_none().then_some(decoded.structure);
        }
    }
}

#[cfg(test)]
mod tests;
