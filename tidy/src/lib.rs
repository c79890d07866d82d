//! Keeps the shape: dependency direction, absences, lengths, documents.
