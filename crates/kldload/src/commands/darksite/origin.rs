//! Where a package is asked for, so that an error can tell it.

/// Where a package is asked for.
#[derive(Debug, Clone)]
pub enum Origin {
    /// At this place of the recipe.
    Recipe(String),
    /// Another key of the recipe needs it.
    Implied,
    /// In a text file.
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// In the recipe's profile, which calls it so.
    Profile(String),
}

/// The packages of a text file, and where each of them is.
pub fn of_lines(file: &str, lines: Vec<(usize, String)>) -> Vec<(String, Origin)> {
    let origin = |line| Origin::Line { file: file.to_owned(), line };
    lines.into_iter().map(|(line, package)| (package, origin(line))).collect()
}
