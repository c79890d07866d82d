//! One alarm's way: from a stored delivery to a closed incident.
