//! A simulated AWS behind the same ports, with faults; for tests, rule tests and the demo.
