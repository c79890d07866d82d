//! Keeps the shape: dependency direction, absences, lengths, documents.
//!
//! There is no code here: the checks are the tests in `tests/tidy`. Each is a pure function from texts
//! to findings, is run on the checkout, and is itself tested on something that it must find.
#![forbid(unsafe_code)]
