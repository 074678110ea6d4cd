//! The elements of a domain, with a record of what was read of them: what nobody reads is named.

use std::cell::RefCell;
use std::collections::HashSet;

use roxmltree::NodeId;

use crate::guest::domain::immaterial;

/// The parts of a domain that were read.
#[derive(Debug, Default)]
pub(super) struct Record<'d>(RefCell<HashSet<(NodeId, Part<'d>)>>);

/// A part of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part<'d> {
    /// It was looked at, its attributes not yet.
    Itself,
    /// It was decided on with all that is in it.
    Whole,
    Text,
    Attribute(&'d str),
}

/// An element of a domain. To look at a part of it is to take note that it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'d> {
    inner: roxmltree::Node<'d, 'd>,
    record: &'d Record<'d>,
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl<'d> Node<'d> {
    pub(super) fn of(inner: roxmltree::Node<'d, 'd>, record: &'d Record<'d>) -> Node<'d> {
        let node = Node { inner, record };
        node.note(Part::Itself);
        node
    }

    fn note(self, part: Part<'d>) {
        self.record.0.borrow_mut().insert((self.inner.id(), part));
    }

    fn is_noted(self, part: Part<'d>) -> bool {
        self.record.0.borrow().contains(&(self.inner.id(), part))
    }

    /// Takes note that the element was decided on with all that is in it.
    pub(super) fn settle(self) {
        self.note(Part::Whole);
    }

    /// Returns the name without its namespace.
    pub(super) fn name(self) -> &'d str {
        self.inner.tag_name().name()
    }

    /// Returns the byte of the document at which the element begins.
    pub(super) fn start(self) -> usize {
        self.inner.range().start
    }

    pub(super) fn attribute(self, name: &str) -> Option<&'d str> {
        let mut attributes = self.inner.attributes();
        let found = attributes.find(|known| known.name() == name)?;
        self.note(Part::Attribute(found.name()));
        Some(found.value())
    }

    /// Returns the names and values of all attributes, which it does not take for read.
    pub(super) fn attributes(self) -> impl Iterator<Item = (&'d str, &'d str)> {
        let attributes = self.inner.attributes();
        attributes.map(|known| (known.name(), known.value()))
    }

    pub(super) fn text(self) -> &'d str {
        self.note(Part::Text);
        self.inner.text().unwrap_or_default().trim()
    }

    pub(super) fn parent(self) -> Option<Node<'d>> {
        let parent = self.inner.parent_element()?;
        Some(Node::of(parent, self.record))
    }

    /// Returns the elements in it.
    pub(super) fn children(self) -> impl Iterator<Item = Node<'d>> {
        self.named(|_| true)
    }

    /// Returns the elements of a name in it, whatever their namespace.
    pub(super) fn elements(self, name: &str) -> impl Iterator<Item = Node<'d>> {
        self.named(move |known| known == name)
    }

    fn named(self, is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Node<'d>> {
        let children = self.inner.children().filter(roxmltree::Node::is_element);
        let wanted = children.filter(move |child| is_wanted(child.tag_name().name()));
        wanted.map(move |child| Node::of(child, self.record))
    }

    /// Returns each element below this one that has parts which nobody read, and which are not immaterial.
    pub(super) fn unread(self) -> Vec<Unread<'d>> {
        let mut settled = HashSet::new();
        let mut unread = Vec::new();
        for inner in self.inner.descendants().filter(roxmltree::Node::is_element) {
            let node = Node { inner, ..self };
            let path = node.path();
            let parent = inner.parent_element().map(|parent| parent.id());
            let is_settled = parent.is_some_and(|parent| settled.contains(&parent))
                || node.is_noted(Part::Whole)
                || immaterial::element(&path);
            let is_new = !node.is_noted(Part::Itself);
            if is_settled || is_new {
                settled.insert(inner.id());
                unread.extend((!is_settled).then_some(Unread::Element(node)));
                continue;
            }
            let attributes = node.attributes().filter(|(name, _)| {
                !node.is_noted(Part::Attribute(name)) && !immaterial::part(&path, name)
            });
            let attributes: Vec<(&str, &str)> = attributes.collect();
            let has_text = inner.text().is_some_and(|text| !text.trim().is_empty());
            let text = has_text
                && !node.is_noted(Part::Text)
                && !immaterial::part(&path, immaterial::TEXT);
            if text || !attributes.is_empty() {
                unread.push(Unread::Parts(node, attributes));
            }
        }
        unread
    }

    /// Returns the names of the element and of those that it is in, from the inside, as far as a path of [`immaterial`] goes.
    fn path(self) -> Vec<&'d str> {
        let around = self.inner.ancestors().take(immaterial::DEPTH);
        around.map(|node| node.tag_name().name()).collect()
    }
}

/// What nobody read.
#[derive(Debug)]
pub(super) enum Unread<'d> {
    Element(Node<'d>),
    /// Attributes of an element, or its text.
    Parts(Node<'d>, Vec<(&'d str, &'d str)>),
}
