//! Files with a line for each entry and colons between fields: passwd(5), shadow(5), group(5), gshadow(5).

/// Such a file. Lines that are not changed stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Colons(Vec<String>);

impl Colons {
    /// Reads a file.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// The file.
    pub fn text(&self) -> String {
        self.0.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Its entries, split.
    pub fn entries(&self) -> impl Iterator<Item = Vec<&str>> {
        self.0.iter().map(|line| line.split(':').collect())
    }

    /// A field of the entry of this name.
    pub fn field(&self, name: &str, at: usize) -> Option<&str> {
        let line = self.0.iter().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(at)
    }

    /// A number of the entry of this name.
    pub fn number(&self, name: &str, at: usize) -> Option<u32> {
        self.field(name, at)?.parse().ok()
    }

    /// The name of the entry with this number.
    pub fn name_of(&self, at: usize, number: u32) -> Option<&str> {
        let fits = |line: &&String| {
            line.split(':').nth(at).and_then(|field| field.parse().ok()) == Some(number)
        };
        self.0.iter().find(fits).and_then(|line| line.split(':').next())
    }

    /// Puts an entry in place of the one of the same name, or behind all.
    pub fn put(&mut self, fields: &[&str]) {
        let line = fields.join(":");
        let same = |known: &&mut String| known.split(':').next() == fields.first().copied();
        match self.0.iter_mut().find(same) {
            Some(known) => *known = line,
            None => self.0.push(line),
        }
    }

    /// Changes a field of the entry of this name, which must have that many.
    pub fn set(&mut self, name: &str, at: usize, value: &str) {
        for line in self.0.iter_mut().filter(|line| line.split(':').next() == Some(name)) {
            let mut fields: Vec<&str> = line.split(':').collect();
            if let Some(field) = fields.get_mut(at) {
                *field = value;
                *line = fields.join(":");
            }
        }
    }

    /// Adds a name to a list with commas between, unless it is there.
    pub fn add_member(&mut self, name: &str, at: usize, member: &str) {
        let Some(members) = self.field(name, at) else { return };
        if members.split(',').any(|known| known == member) {
            return;
        }
        let separator = if members.is_empty() { "" } else { "," };
        let members = format!("{members}{separator}{member}");
        self.set(name, at, &members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_changes() {
        let mut group = Colons::parse("root:x:0:\nodd line\nadm:x:4:bob\n");
        group.add_member("adm", 3, "alice");
        group.add_member("adm", 3, "bob");
        group.add_member("root", 3, "alice");
        group.add_member("none", 3, "alice");
        group.put(&["alice", "x", "1000", ""]);
        group.put(&["odd line", "x"]);
        group.set("root", 9, "x");
        assert_eq!(group.text(), "root:x:0:alice\nodd line:x\nadm:x:4:bob,alice\nalice:x:1000:\n");
        assert_eq!((group.number("adm", 2), group.name_of(2, 4)), (Some(4), Some("adm")));
        assert_eq!(Colons::parse("").text(), "");
    }
}
