//! Syntax of other programs' prompts that is plain text here, or means something else.

use serde::{Deserialize, Serialize};

/// A kind of such syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyntaxKind {
    /// `((red))`
    Parentheses,
    /// `[red]`
    Brackets,
    /// `[red:blue:0.5]`
    Editing,
    /// `[red|blue]`
    Alternating,
    /// `BREAK`
    Break,
    /// `AND`
    And,
    /// `<lora:name:1>`
    Network,
    /// `embedding:name`
    Embedding,
    /// `{2$$red|blue}`
    Quantity,
    /// `{0.5::red|blue}`
    Chance,
    /// `__folder/name__`
    Wildcard,
}

impl SyntaxKind {
    /// What it means here, and what to write instead.
    pub fn words(self) -> &'static str {
        match self {
            Self::Parentheses => {
                "parentheses without a number are text here, and weigh 1.1 in web UIs: write (red:1.1), or \\( and \\) for text in both"
            }
            Self::Brackets => {
                "square brackets are text here, and weigh 0.91 in web UIs: write (red:0.91), or \\[ and \\] for text in both"
            }
            Self::Editing => {
                "it is text here, and in web UIs a prompt that changes between the steps: take it out, for prompts stay as they are here"
            }
            Self::Alternating => {
                "it is text here, and in web UIs a prompt that changes with every step: write {red|blue} for a picture of each"
            }
            Self::Break => {
                "it is a word here, and in web UIs begins another 75 tokens: take it out, for what is over the limit is not read here"
            }
            Self::And => "it is a word here, and in web UIs puts two prompts together: write \"and\"",
            Self::Network => "it is text here, and no such file is read: take it out",
            Self::Embedding => "it is text here: give the file with --embedding FILE, and write its word alone",
            Self::Quantity => {
                "the number is text here, and each alternative stands alone: write out what is to stand together"
            }
            Self::Chance => "the number is text here, and each alternative comes as often: take it out",
            Self::Wildcard => {
                "it is text here: word files have plain names and are in prompts/words itself: write __name__"
            }
        }
    }
}

/// What of one kind is in the prompts of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSyntax {
    /// The kind.
    pub kind: SyntaxKind,
    /// The first prompt that has it, as given.
    pub prompt: String,
    /// What there is of it in that prompt.
    pub found: Vec<String>,
    /// How many prompts have it.
    pub prompts: usize,
}

impl OtherSyntax {
    /// In words.
    pub fn warning(&self) -> String {
        let more = if self.prompts > 1 { format!(", as {} prompts have", self.prompts) } else { String::new() };
        format!("prompt \"{}\" has {}{more}: {}", self.prompt, self.found.join(" "), self.kind.words())
    }
}
