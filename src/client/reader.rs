//! What lists and screens ask for: answered by the daemon, or where that is of another version and has jobs, or on another
//! machine, by the files, which are the truth. So nobody is shut out by an upgrade or by a shared disk, and nothing is changed
//! behind the other's back.

use super::{Daemon, Error};
use crate::protocol::{ConceptDetails, ConceptRecord, DaemonReply, DaemonRequest, JobInfo, RunRecord, State};
use crate::workspace::queue::QueueFiles;
use crate::workspace::{Home, read_details};

/// Answers questions about a home.
pub enum Reader {
    /// The daemon.
    Daemon(Box<Daemon>),
    /// The files alone.
    Files {
        /// Where they are.
        home: Home,
        /// Why it is not the daemon.
        why: String,
    },
}

impl Reader {
    /// Ask about `home`. The daemon is started if it is not there.
    pub fn open(home: &Home) -> Result<Self, Error> {
        match Daemon::start(home) {
            Ok(daemon) => Ok(Self::Daemon(Box::new(daemon))),
            Err(why @ (Error::OtherVersion { .. } | Error::Elsewhere(_))) => {
                Ok(Self::Files { home: home.clone(), why: why.to_string() })
            }
            Err(error) => Err(error),
        }
    }

    /// Why nothing can be changed now, where the files alone answer.
    pub fn read_only(&self) -> Option<&str> {
        match self {
            Self::Daemon(_) => None,
            Self::Files { why, .. } => Some(why),
        }
    }

    /// All jobs in the queue: those that run, those that wait in the order of their turn, those that are over.
    pub fn jobs(&mut self) -> Result<Vec<JobInfo>, Error> {
        match self {
            Self::Files { home, .. } => Ok(QueueFiles::read(home)?.list(home)),
            Self::Daemon(daemon) => match daemon.ask(DaemonRequest::Jobs)? {
                DaemonReply::Jobs { jobs } => Ok(jobs),
                other => Err(Error::odd(&other)),
            },
        }
    }

    /// All concepts with this tag, or all, by name; only those whose name, class word or notes contain `matching`.
    pub fn concepts(&mut self, tag: Option<String>, matching: Option<String>) -> Result<Vec<ConceptRecord>, Error> {
        match self {
            Self::Files { home, .. } => {
                let mut all = home.read_all()?;
                all.retain(|details| {
                    let concept = &details.concept;
                    tag.as_ref().is_none_or(|tag| concept.tags.contains(tag))
                        && matching.as_ref().is_none_or(|text| concept.matches(&details.notes, text))
                });
                Ok(all.into_iter().map(|details| details.concept).collect())
            }
            Self::Daemon(daemon) => match daemon.ask(DaemonRequest::Concepts { tag, matching })? {
                DaemonReply::Concepts { concepts } => Ok(concepts),
                other => Err(Error::odd(&other)),
            },
        }
    }

    /// One concept with all that belongs to it, its samples only if they are wanted.
    pub fn concept(&mut self, name: &str, samples: bool) -> Result<ConceptDetails, Error> {
        match self {
            Self::Files { home, .. } => {
                // The home says what there is instead.
                let mut details = read_details(&home.concept_folder(name)?);
                details.sample_records.retain(|_| samples);
                Ok(details)
            }
            Self::Daemon(daemon) => match daemon.ask(DaemonRequest::Concept { name: name.to_owned(), samples })? {
                DaemonReply::Concept(concept) => Ok(*concept),
                other => Err(Error::odd(&other)),
            },
        }
    }

    /// The runs of all concepts, in this state or in any.
    pub fn runs(&mut self, state: Option<State>) -> Result<Vec<RunRecord>, Error> {
        match self {
            Self::Files { home, .. } => {
                let runs = home.read_all()?.into_iter().flat_map(|details| details.run_records);
                Ok(runs.filter(|run| state.is_none_or(|state| run.state == state)).collect())
            }
            Self::Daemon(daemon) => match daemon.ask(DaemonRequest::Runs { concept: None, state })? {
                DaemonReply::Runs { runs } => Ok(runs),
                other => Err(Error::odd(&other)),
            },
        }
    }

    /// What has become of the store that nobody has been told of yet, as that it was rebuilt.
    pub fn news(&mut self) -> Result<Vec<String>, Error> {
        match self {
            Self::Files { .. } => Ok(Vec::new()),
            Self::Daemon(daemon) => match daemon.ask(DaemonRequest::News)? {
                DaemonReply::News { news } => Ok(news),
                other => Err(Error::odd(&other)),
            },
        }
    }
}

/// All jobs in the queue of `home`.
pub fn jobs(home: &Home) -> Result<Vec<JobInfo>, Error> {
    Reader::open(home)?.jobs()
}

/// One concept with all that belongs to it, its samples only if they are wanted.
pub fn concept(home: &Home, name: &str, samples: bool) -> Result<ConceptDetails, Error> {
    Reader::open(home)?.concept(name, samples)
}

/// Make sure that what is changed in the files of `home` does so beside no daemon of another version that has jobs, or of
/// another machine. To be asked before anything is written.
pub fn check_writable(home: &Home) -> Result<(), Error> {
    Daemon::start(home).map(drop)
}
