//! Where rule scripts run: Rhai locked down, manifests, checker and rule book.
